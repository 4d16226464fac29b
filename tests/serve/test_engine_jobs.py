"""Jobs on the bundled tiny model, in a real worker process: the same pictures as the engine alone makes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.cluster.job_runs import JobInterrupted, outcome_of
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import parse_job
from lib_ctrlgen.models.bundled import bundled_folders
from lib_ctrlgen.serve.checks import EngineChecks, checked_job
from lib_ctrlgen.serve.engine_runner import EngineOptions, EngineRunner
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.made_from import made_from
from lib_ctrlgen.serve.models import EngineModels
from lib_ctrlgen.serve.service import Service
from tests.support.serve_jobs import ANNA, content_of, data_url, ended, png, wait_for
from tests.support.tiny_engine import hooks_of

EDGES = {
    "model": "ctrlgen-tiny-edges",
    "image": data_url(png(side=64)),
    "preprocessor": "canny",
    "params": {},
}
MAP = re.compile(r"\d+-map-(\d+)-")  # as the page of dials finds them (serve/dials/assets/preview.js)
TUNE = {"x": {"path": "units.0.weight", "values": "0.5, 1"}}


@pytest.fixture(scope="module")
def checks() -> EngineChecks:
    return EngineChecks(bundled_folders())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    options = {"folders": list(map(str, bundled_folders())), "threads": 1}
    service = Service(tmp_path / "data", [LocalWorker("worker", options)], Limits())
    service.start()
    yield service
    service.stop(0)


def pixels(path: Any) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def runner() -> EngineRunner:
    return EngineRunner(EngineOptions(folders=tuple(map(str, bundled_folders())), threads=1))


def test_the_server_makes_what_the_engine_makes(
    service: Service, checks: EngineChecks, runner: EngineRunner
) -> None:
    content = content_of(units=[EDGES], seed=3, batch_size=2, sampler="Euler")
    job = service.submit(ANNA, checked_job(content, service.limits, checks.checker()))
    made = runner.engine.generate(parse_job(content))
    wait_for(lambda: ended(service, job), 200)
    job = service.store.require(job.id)
    assert job.state == "done", job.error
    assert job.result
    for name, image in zip(job.result["pictures"], made.images, strict=True):
        assert np.abs(pixels(service.folders.result(job) / name) - np.asarray(image).astype(int)).max() <= 1
    maps = [name for name in service.folders.files(job) if MAP.match(name)]
    assert maps == ["00000-map-0-ctrlgen-tiny-edges.png"]
    assert "data:image" not in (service.folders.result(job) / "job.json").read_text()
    second = made_from(service, job, 1)  # the seed and the unit's picture of this very picture
    assert (second.recipe.job["seed"], second.notes) == (made.seeds[1], ())
    assert second.recipe.job["units"][0]["image"] == EDGES["image"]
    again = runner.engine.generate(parse_job(second.recipe.job)).images[0]
    assert np.abs(np.asarray(again).astype(int) - np.asarray(made.images[1]).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"units": [{**EDGES, "preprocessor": "cany"}]}, "$.units[0].preprocessor"),
        ({"units": [{**EDGES, "params": {"low": 1}}]}, "$.units[0].params.low"),
        ({"units": [{**EDGES, "model": "ctrlgen-tiny-nothing"}]}, "$.units[0].model"),
        ({"units": [{**EDGES, "image": "layout.png"}]}, "$.units[0].image"),
        ({"model": "/etc/passwd"}, "$.model"),
        ({"prompt": "a (star:1@0, x@1)"}, "$.prompt"),
        ({"units": [EDGES], "tune": {"x": {"path": "units.0.model", "values": "a"}}}, "$.tune.x.values[0]"),
    ],
)
def test_what_no_engine_would_accept_is_refused_at_once(
    checks: EngineChecks, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(RequestError) as caught:
        checked_job(content_of(**fields), Limits(), checks.checker())
    assert caught.value.path.startswith(path)


def test_the_models_are_listed(checks: EngineChecks) -> None:
    answer = EngineModels(checks).answer()
    assert "ctrlgen-tiny" in answer.checkpoints
    assert any(name.endswith("ctrlgen-tiny-edges") for name in answer.controls)
    assert not set(answer.checkpoints) & set(answer.controls)


def test_a_tuner_job_goes_on_with_its_finished_cells(runner: EngineRunner, tmp_path: Path) -> None:
    payload = content_of(units=[EDGES], sampler="Euler", tune=TUNE)
    work = {"id": "x", "kind": "tune", "payload": payload}
    told: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        told.append((done, total))
        if done == 1:
            raise JobInterrupted

    assert outcome_of(runner, work, tmp_path, report) == {"state": "stopped"}
    assert told[-1] == (1, 2)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.png")}
    assert len(first) == 1
    told.clear()
    outcome = outcome_of(runner, work, tmp_path, lambda done, total: told.append((done, total)))
    assert outcome["state"] == "done"
    assert told[0] == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(outcome["result"]["pictures"]) == 2
    for name in ("report.html", "cells.json", "sheet.png", *outcome["result"]["pictures"]):
        assert (tmp_path / name).is_file()


def test_a_generation_that_is_stopped_leaves_the_network_as_it_was(
    runner: EngineRunner, tmp_path: Path
) -> None:
    work = {"id": "x", "kind": "run", "payload": content_of(units=[EDGES], sampler="Euler", steps=4)}

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise JobInterrupted

    hooks = hooks_of(runner.engine.load("ctrlgen-tiny").unet)
    (tmp_path / "old.png").write_bytes(b"of an earlier attempt")
    assert outcome_of(runner, work, tmp_path, stop) == {"state": "stopped"}
    assert hooks_of(runner.engine.load("ctrlgen-tiny").unet) == hooks
    assert outcome_of(runner, work, tmp_path, lambda _done, _total: None)["state"] == "done"
    assert not (tmp_path / "old.png").exists()
