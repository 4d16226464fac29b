"""A fast engine and models for tests of `ctrlgen serve`, and a server of its own. It imports no torch."""

import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.cluster.job_runs import Report
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import png_text, save_bytes, save_picture, save_text
from lib_ctrlgen.recipes.content import Recipe, data_url, files_of
from lib_ctrlgen.request.spec import parse_request

REFUSED = "the engine does not want to"
BUILD = "tests.support.serve_fakes:build"


class FakeRunner:
    """Paints a picture of the seed's colour after some steps, and a white map for each unit with a picture.

    What it does is written into a log.

    A prompt may say `kill` (the worker ends, the first time), `always kill`, `fail`, `slow` or `hang`. The
    assets of a story are made as pictures; if its title says `slow`, the first one only.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        if "broken" in options:
            raise HostError(options["broken"])
        if "hangs" in options:
            save_text("", Path(options["log"]))
            time.sleep(600)
        self.log = Path(options["log"])
        self.seconds = float(options.get("seconds", 0.0))

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        payload = work["payload"]
        if work["kind"] == "story":
            return self.story(payload, folder, report)
        prompt = payload["prompt"]
        self.note(f"start {work['id']} {prompt}")
        if prompt == "hang":
            report(0, 1)
            time.sleep(600)
        steps = 100_000 if "slow" in prompt else payload["steps"]
        for step in range(steps):
            report(step, steps)
            time.sleep(0.01 if "slow" in prompt else self.seconds)
        if "always kill" in prompt or ("kill" in prompt and not (folder / "killed").exists()):
            save_text("", folder / "killed")
            os._exit(9)
        if "fail" in prompt:
            raise RequestError("$.prompt", REFUSED)
        colour = (payload["seed"] % 256, 0, 0)
        info = png_text("", ctrlgen=json.dumps({**payload, "units": []}))
        save_picture(Image.new("RGB", (8, 8), colour), folder / "00000.png", info)
        for index, unit in enumerate(payload.get("units", ())):
            if unit.get("enabled", True) and unit.get("image"):
                save_picture(Image.new("RGB", (8, 8), "white"), folder / f"00000-map-{index}-edges.png")
        self.note(f"end {work['id']} {prompt}")
        return {"pictures": ["00000.png"], "sheets": [], "warnings": []}

    def story(self, payload: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        from lib_ctrlgen.projects.story.asset_list import AssetList
        from lib_ctrlgen.projects.story.story_file import StoryFile

        listed = AssetList(story=parse_request(dict(payload), StoryFile))
        names = [listed.name(asset) for asset in listed.assets()]
        for number, name in enumerate(names):
            for _ in range(100_000 if number and "slow" in payload["title"] else 1):
                report(number, len(names))
                time.sleep(0.01 if "slow" in payload["title"] else 0)
            own = folder / "assets" / name
            unit = {"model": "ctrlgen-tiny-edges", "image": data_url(picture_of(number))}
            job = {"prompt": name, "width": 64, "height": 64, "units": [unit]}
            for file, data in files_of(Recipe(job=job)).items():
                save_bytes(data, own / file)
            save_picture(Image.new("RGB", (8, 8), (number * 40, 80, 160)), own / "result.png")
        save_text("<p>sheets</p>", folder / "index.html")
        pictures = [f"assets/{name}/result.png" for name in names]
        return {"pictures": pictures, "assets": names, "sheets": [], "report": "index.html", "warnings": []}

    def note(self, line: str) -> None:
        """One line, written whole by the system also if several workers write."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


def picture_of(number: int) -> bytes:
    """A control picture of an asset as PNG."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (0, number * 40, 0)).save(stream, "PNG")
    return stream.getvalue()


@dataclass(frozen=True)
class FakeRecipe:
    """Builds the fake engine on a Ray cluster."""

    log: str

    @property
    def options(self) -> Mapping[str, Any]:
        return {"num_cpus": 1}

    def build(self) -> FakeRunner:
        return FakeRunner({"log": self.log, "seconds": 0.01})


def build(options: Mapping[str, Any]) -> FakeRunner:
    return FakeRunner(options)


def lines_of(log: Path, word: str) -> list[list[str]]:
    """The lines of the log that begin with a word, split."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if line[0] == word]
