"""The grid that the tuner's tests make on a random model, and helpers to run it and read its folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from tests.support import control_files as files
from tests.support import headless_models as models

UNITS = [
    {"model": f"{models.NAME}-edges", "image": files.drawn_url(), "preprocessor": "canny"},
    {"model": f"{models.NAME}-ip", "image": files.data_url(seed=2)},
]
PAYLOAD: dict[str, Any] = {
    "prompt": "a red star", "width": 64, "height": 64, "steps": 2, "sampler": "DDIM", "units": UNITS,
}  # fmt: skip
X = {"path": "Unit 0 weight", "values": "0, 1"}
Y = {"path": "Unit 1 weight", "values": "0.5, 1.5"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Counting(Engine):
    """Counts pictures; `fails` says for which weights of the first unit it fails."""

    made = 0
    fails: tuple[float, ...] = ()
    stops_after: int | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[int] = []

    def together(self, requests: Sequence[GenerationRequest], progress: Any = None) -> list[Generation]:
        if self.stops_after is not None and self.made >= self.stops_after:
            raise KeyboardInterrupt
        if any(r.units and r.units[0].weight.constant in self.fails for r in requests):
            raise RuntimeError("out of memory")
        self.made += sum(request.batch_size for request in requests)
        self.batches.append(len(requests))
        return super().together(requests, progress)


def run(engine: Engine, out: Path, **tune: Any) -> TunerResult:
    spec = parse_request({"x": X, "y": Y, "seeds": 2} | tune, TuneSpec)
    host = EngineHost(engine=engine)
    return Tuner(host, grid_of(PAYLOAD, spec, GenerationRequest), out).run(lambda _progress: None)


def job_file(folder: Path, **tune: Any) -> Path:
    file = folder / "job.yaml"
    file.write_text(json.dumps(PAYLOAD | {"tune": {"x": X} | tune}), "utf-8")
    return file


def cells_of(page: str) -> list[dict[str, Any]]:
    """The cells in the data of a report's script."""
    data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    found: list[dict[str, Any]] = json.loads(data)["cells"]
    return found
