"""The REST routes of tuner jobs, over a fake of the WebUI's own txt2img route."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.tuner.lock import FolderLock
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh, served

TUNE = {"x": {"path": "Steps", "values": "1, 2, 3"}, "name": "chair"}
LAST = {"units": [{"model": "edges", "image_from": "last"}]}
JOB = {"request": {"prompt": "a", "seed": 5}, "tune": TUNE}
DEFAULTS: dict[str, Any] = {
    "prompt": "", "negative_prompt": "", "steps": 20, "sampler_name": None, "scheduler": None, "width": 64,
    "height": 64, "cfg_scale": 7.0, "denoising_strength": 0.75, "seed": -1, "n_iter": 1, "batch_size": 1,
    "styles": [], "override_settings": {}, "alwayson_scripts": {}, "init_images": None, "script_name": None,
    "subseed": -1, "subseed_strength": 0,
    "script_args": [], "send_images": True,
}  # fmt: skip


class Asked:
    """The type of REST's request, as pydantic's look from outside."""

    __fields__ = DEFAULTS

    def __init__(self, **fields: Any) -> None:
        if not isinstance(fields.get("steps", 1), int):
            raise ValueError("steps: not a number")  # noqa: TRY004 - as pydantic's
        vars(self).update(DEFAULTS | {name: fields[name] for name in fields.keys() & DEFAULTS.keys()})


class Rest:
    """`/sdapi/v1/txt2img`: waits for the lock, then runs the script; `gate` holds up each picture."""

    def __init__(self, webui: FakeWebUI, grids: Path) -> None:
        self.webui, self.grids = webui, grids
        self.lock, self.gate = Lock(), Event()
        self.gate.set()
        self.made: list[int] = []
        self.fails = False
        self.warned: dict[int, str] = {}  # by the number of steps
        self.routes = [SimpleNamespace(path="/sdapi/v1/txt2img", endpoint=self.text2img)]

    def text2img(self, asked: Asked) -> None:
        with self.lock:
            self.webui.state.interrupted = False
            if self.fails:
                raise HTTPException(404, "Sampler not found")
            ours = SimpleNamespace(title=lambda: "CtrlGen", args_from=0, args_to=1)
            p = SimpleNamespace(**vars(asked), extra_generation_params={}, comment=lambda _text: None)
            p.is_api = True
            p.scripts = SimpleNamespace(alwayson_scripts=[ours])
            p.outpath_grids, p.script_args = str(self.grids), [{}]
            fresh_script().TunerScript().run(p, *asked.script_args)

    def process_images(self, p: Any) -> Any:
        self.gate.wait(30)
        if not self.webui.state.interrupted:
            self.made.append(p.steps)
        p.extra_generation_params |= {"CtrlGen warnings": self.warned.get(p.steps)}
        images = [Image.new("RGB", (64, 64), (p.steps * 20, 0, 0))] * p.batch_size
        texts = [f"Steps: {p.steps}"] * p.batch_size
        seeds = [p.seed + number for number in range(p.batch_size)]
        return SimpleNamespace(images=images, infotexts=texts, all_seeds=seeds, index_of_first_image=0)


def fresh_script() -> Any:
    from lib_ctrlgen.webui.tuner import script

    return script


@pytest.fixture
def webui(tmp_path: Path) -> Iterator[FakeWebUI]:
    with served(FakeWebUI(), tmp_path) as webui:
        webui.opts.data |= {
            "outdir_txt2img_grids": str(tmp_path / "g"),
            "outdir_grids": "",
            "outdir_img2img_grids": str(tmp_path / "i"),
        }
        yield webui


@pytest.fixture
def rest(webui: FakeWebUI, tmp_path: Path) -> Rest:
    rest = Rest(webui, tmp_path / "g")
    processing = webui.loaded["modules.processing"]
    processing.process_images = rest.process_images
    processing.Processed = lambda *args, **fields: SimpleNamespace(**fields)
    return rest


@pytest.fixture
def jobs(rest: Rest) -> Any:
    module = fresh("tuner.jobs")
    from lib_ctrlgen.webui import settings

    settings.register_settings()
    return module.TuneJobs(rest)


def ended(jobs: Any, name: str = "chair") -> Any:
    jobs.threads[name].join(60)
    return jobs.get(name)


def wait(holds: Any) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_job_runs_and_says_what_it_made(jobs: Any, tmp_path: Path) -> None:
    assert jobs.post(JOB) == {"id": "chair", "cells": 3, "pictures": 3}
    said = ended(jobs)
    assert (said["state"], said["done"], said["total"], said["error"]) == ("done", 3, 3, "")
    assert [cell["values"] for cell in said["cells"]] == [["1"], ["2"], ["3"]]
    file = jobs.file("chair", said["cells"][1]["files"][0])
    assert Image.open(file).getpixel((0, 0)) == (40, 0, 0)
    assert jobs.file("chair", "report.html").is_file()
    assert jobs.listed() == [{"id": "chair", "state": "done", "done": 3, "total": 3}]


def test_a_cells_warnings_are_told(jobs: Any, rest: Rest) -> None:
    rest.warned = {2: "$.width: small | $.units[0]: idle"}
    jobs.post(JOB)
    assert [cell["warnings"] for cell in ended(jobs)["cells"]] == [
        [],
        ["$.width: small", "$.units[0]: idle"],
        [],
    ]
    page = jobs.file("chair", "report.html").read_text("utf-8")
    assert "1 of 3 cells have warnings: $.width: small (1 of 3); $.units[0]: idle (1 of 3)" in page


def test_a_concepts_seed_left_to_chance_is_kept(jobs: Any, rest: Rest, tmp_path: Path) -> None:
    concepts = [{"seed": -1}, {"seed": 3}]
    controls = {"CtrlGen": {"args": [{"blend": {"mode": "seeds", "concepts": concepts}}]}}
    job = JOB | {"request": JOB["request"] | {"alwayson_scripts": controls}}
    for _ in range(2):
        jobs.post(job)
        assert ended(jobs)["state"] == "done"
    assert len(rest.made) == 3  # nothing the second time
    kept = int((tmp_path / "g/ctrlgen-tuner/chair/seed-concept-0.txt").read_text())
    assert kept >= 0


def test_the_same_again_makes_only_what_is_new(jobs: Any, rest: Rest) -> None:
    jobs.post(JOB)
    ended(jobs)
    jobs.post(JOB | {"tune": TUNE | {"x": {"path": "Steps", "values": "1, 2, 3, 4"}}})
    assert ended(jobs)["done"] == 4
    assert rest.made == [1, 2, 3, 4]


def test_a_seed_left_to_chance_stays_the_jobs_own(jobs: Any, rest: Rest, webui: FakeWebUI) -> None:
    job = {"request": {"prompt": "a"}, "tune": {"x": TUNE["x"]}}
    name = jobs.post(job)["id"]
    ended(jobs, name)
    webui.loaded["modules.processing"].get_fixed_seed = lambda seed: 78 if seed == -1 else seed
    assert jobs.post(job)["id"] == name
    ended(jobs, name)
    assert rest.made == [1, 2, 3]


def test_a_running_job_shows_its_cells_and_can_be_interrupted(jobs: Any, rest: Rest) -> None:
    rest.gate.clear()
    jobs.post(JOB)
    wait(lambda: jobs.get("chair")["state"] == "running")
    with pytest.raises(HTTPException) as caught:
        jobs.post(JOB)
    assert caught.value.status_code == 409
    jobs.delete("chair")
    rest.gate.set()
    said = ended(jobs)
    assert (said["state"], rest.made) == ("interrupted", [])
    jobs.post(JOB)
    assert ended(jobs)["state"] == "done"


def test_one_that_waits_is_removed_without_touching_what_runs(
    jobs: Any, rest: Rest, webui: FakeWebUI
) -> None:
    with rest.lock:
        jobs.post(JOB)
        assert jobs.get("chair")["state"] == "waiting"
        assert jobs.delete("chair")["state"] == "interrupted"
        assert not webui.state.interrupted
    assert ended(jobs)["state"] == "interrupted"
    assert rest.made == []


def test_a_job_is_there_after_a_restart(jobs: Any, rest: Rest, webui: FakeWebUI) -> None:
    rest.gate.clear()
    jobs.post(JOB)
    wait(lambda: jobs.get("chair")["state"] == "running")
    webui.state.server_start = 2.0
    assert jobs.get("chair")["state"] == "stopped"
    webui.state.server_start = 1.0
    rest.gate.set()
    ended(jobs)
    webui.state.server_start = 2.0
    assert jobs.get("chair")["state"] == "done"


def test_what_the_webui_refuses_is_told(jobs: Any, rest: Rest) -> None:
    rest.fails = True
    jobs.post(JOB)
    said = ended(jobs)
    assert (said["state"], said["error"]) == ("failed", "Sampler not found")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"tab": "extras"}, "$.tab"),
        ({"more": 1}, "$.more"),
        ({"request": None}, "$.request"),
        ({"tune": []}, "$.tune"),
        ({"request": {"steps": "x"}}, "$.request"),
        ({"request": {"script_name": "x"}}, "$.request.script_name"),
        ({"request": {"seed": "x"}}, "$.request.seed"),
        ({"request": {"batch_size": 2}}, "$.tune.seeds"),
        ({"request": {"alwayson_scripts": {"ctrlgen": {"args": [{"unit": []}]}}}}, "$.unit"),
        ({"request": {"alwayson_scripts": {"ctrlgen": {"args": [LAST]}}}}, "$.units[0].image_from"),
        ({"tune": TUNE | {"x": {"path": "Unit 0 weight", "values": "1"}}}, "$.tune.x.values[0]"),
        ({"tune": TUNE | {"name": "../out"}}, "$.tune.name"),
        ({"tune": TUNE | {"w": 1}}, "$.tune.w"),
    ],
)
def test_mistakes_are_found_before_anything_runs(jobs: Any, tmp_path: Path, change: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        jobs.post(JOB | change)
    assert caught.value.path == path
    assert not jobs.threads
    assert not jobs.listed()


def test_nothing_outside_the_folder_is_served(jobs: Any, tmp_path: Path) -> None:
    jobs.post(JOB)
    ended(jobs)
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "g/ctrlgen-tuner/chair/link").symlink_to(secret)
    for path in ("../../../secret", str(secret), "link", "cells", "", "nothing", "\0"):
        with pytest.raises(HTTPException) as caught:
            jobs.file("chair", path)
        assert caught.value.status_code == 404
    for name in ("..", ".", "", "other", "../chair"):
        with pytest.raises(HTTPException):
            jobs.get(name)


def test_without_the_api_there_are_no_jobs(jobs: Any, rest: Rest) -> None:
    rest.routes.clear()
    from lib_ctrlgen.errors import HostError

    with pytest.raises(HostError, match="--api"):
        jobs.post(JOB)


def test_a_note_that_is_broken_is_none(jobs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "g/ctrlgen-tuner/old"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text("[")
    assert jobs.listed() == []
    (folder / "progress.json").write_text(json.dumps({"state": "running"}))
    assert jobs.get("old")["state"] == "stopped"


def test_a_folder_that_another_program_writes_into_is_left_alone(jobs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "g/ctrlgen-tuner/chair"
    with FolderLock(folder), pytest.raises(HTTPException, match="in use by process") as caught:
        jobs.post(JOB)
    assert caught.value.status_code == 409
    assert not (folder / "progress.json").exists()
    jobs.post(JOB)
    assert ended(jobs)["state"] == "done"


def test_a_job_whose_every_cell_fails_has_failed(jobs: Any, rest: Rest, webui: FakeWebUI) -> None:
    def fails(_p: Any) -> Any:
        raise RuntimeError("the model is sick")

    webui.loaded["modules.processing"].process_images = fails
    jobs.post(JOB)
    said = ended(jobs)
    assert (said["state"], len(said["cells"])) == ("failed", 3)
    assert "every cell failed: the model is sick (3 of 3)" in said["error"]
