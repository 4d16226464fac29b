"""The tuner on a local Ray cluster of two workers. Deselect these tests with -m "not cluster"."""

import csv
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.cluster import pool as spread
from lib_ctrlgen.cluster.connect import connected, engine_slots
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import Grid, TuneSpec, grid_of
from lib_ctrlgen.tuner.run import Progress, Tuner
from lib_ctrlgen.tuner.worker import Task
from tests.support import headless_models as models
from tests.support.cluster_stub import Stub
from tests.support.fake_job_route import Jobs, serving
from tests.support.serve_cluster import service_on_cluster
from tests.support.serve_fakes import lines_of
from tests.support.serve_jobs import ANNA, ended, job_of, wait_for
from tests.support.tuner_grids import PAYLOAD, X, Y, contents

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if find_spec("ray") is None:
        pytest.skip("Ray is installed in the newer of the two sets only")
    with connected("local", 4):  # cores in name: some tests need workers beside those of others
        yield


@pytest.fixture(scope="module")
def host(root: Path) -> EngineHost:
    return EngineHost(engine=Engine([root], 1 << 28))


@pytest.fixture(scope="module")
def engines(cluster: None, root: Path) -> Iterator[Any]:
    from lib_ctrlgen.cluster.engines import EngineRecipe
    from lib_ctrlgen.cluster.models import SharedModels
    from lib_ctrlgen.cluster.workers import RayWorkers

    recipe = EngineRecipe(models=SharedModels(folders=(str(root),)))
    with RayWorkers([recipe] * 2, all_ready=True) as workers:
        yield workers


def grid(**tune: Any) -> Grid:
    return grid_of(PAYLOAD, parse_request({"x": X, "y": Y} | tune, TuneSpec), GenerationRequest)


def kept(folder: Path) -> dict[str, bytes]:
    """What one machine and many write alike: all but the uncontrolled pictures."""
    return {name: data for name, data in contents(folder).items() if not name.startswith("uncontrolled")}


def require_alike(one: Path, other: Path) -> None:
    """The same files: pictures to 1 of 255, since batches round otherwise in other sizes, scores nearly."""
    first, second = kept(one), kept(other)
    assert first.keys() == second.keys()
    for name in first:
        if name.startswith("cells/") and name.endswith(".png"):
            pair = [
                np.asarray(Image.open(folder / name).convert("RGB")).astype(int) for folder in (one, other)
            ]
            assert np.abs(pair[0] - pair[1]).max() <= 1
    rows = [list(csv.DictReader(io.StringIO(each["cells.csv"].decode()))) for each in (first, second)]
    for mine, theirs in zip(*rows, strict=True):
        assert mine["files"] == theirs["files"]
        scores = [name for name in mine if "." in name or name.startswith("over_control")]
        assert all(abs(float(mine[name]) - float(theirs[name])) < 0.05 for name in scores)


def quiet(_progress: Progress) -> None:
    """Say nothing."""


def test_a_cluster_of_our_own_listens_on_loopback(cluster: None) -> None:
    import ray

    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
    assert engine_slots(2).engines == 2


def test_two_workers_make_what_one_machine_makes(host: EngineHost, engines: Any, tmp_path: Path) -> None:
    Tuner(host, grid(seeds=2), tmp_path / "one").run(quiet)
    tuned = Tuner(host, grid(seeds=2), tmp_path / "two", engines).run(quiet)
    assert len(tuned.done) == 4
    assert not any(each.error for each in tuned.done)
    require_alike(tmp_path / "one", tmp_path / "two")
    assert Tuner(host, grid(seeds=2), tmp_path / "two", engines).run(quiet).made == 0


def test_a_killed_workers_cells_are_taken_over(host: EngineHost, engines: Any, tmp_path: Path) -> None:
    import ray

    def pid_of(actor: Any) -> int:
        return int(ray.get(actor.__ray_call__.remote(lambda _seat: os.getpid())))

    pids = {id(handle): pid_of(handle.actor) for handle in engines.idle}
    assert len(pids) == 2
    told: list[list[str]] = []

    def tell(progress: Progress) -> None:
        told.append([cell.cell.key for cell in progress.cells])
        if progress.done == 2:
            os.kill(pids[id(engines.busy[0])], signal.SIGKILL)

    wide = grid(x=X | {"values": "0, 0.25, 0.5, 1"})
    tuned = Tuner(host, wide, tmp_path / "two", engines).run(tell)
    assert [len(keys) for keys in told] == list(range(9))
    assert len(set(told[-1])) == 8
    assert not any(each.error for each in tuned.done)
    Tuner(host, wide, tmp_path / "one").run(quiet)
    require_alike(tmp_path / "one", tmp_path / "two")


def test_models_are_shipped(cluster: None, host: EngineHost, tmp_path: Path) -> None:
    from lib_ctrlgen.cluster.engines import EngineRecipe
    from lib_ctrlgen.cluster.models import ShippedModels, models_for
    from lib_ctrlgen.cluster.workers import RayWorkers

    far = tmp_path / "far"
    models.write_model(far)
    payload = PAYLOAD | {"model": str(far / f"{models.NAME}.safetensors")}
    cells = grid_of(payload, parse_request({"x": X}, TuneSpec), GenerationRequest)
    own = EngineHost(engine=Engine([far], 1 << 28))
    Tuner(own, cells, tmp_path / "one").run(quiet)
    shipped = models_for("ship", [far], [own.batch(cell.payload, 1) for cell in cells.cells])
    second = Tuner(own, cells, tmp_path / "two")
    far.rename(tmp_path / "away")  # what the workers have now is what was shipped
    assert isinstance(shipped, ShippedModels)
    shutil.rmtree(shipped.base, ignore_errors=True)
    try:
        with RayWorkers([EngineRecipe(models=shipped)]) as workers:
            second.workers = workers
            second.run(quiet)
        require_alike(tmp_path / "one", tmp_path / "two")
    finally:
        shutil.rmtree(shipped.base)


def stacks(count: int) -> list[list[Task]]:
    return [[Task(key=str(number), request=GenerationRequest()) for number in range(count)]]


def test_what_a_node_lacks_ends_it_before_anything_runs(cluster: None) -> None:
    from lib_ctrlgen.cluster.workers import RayWorkers

    recipe = Stub(missing="the model folder is not on the node")
    with pytest.raises(HostError, match="not on the node"), RayWorkers([recipe]):
        pass


def test_a_cell_that_kills_every_worker_is_given_up_and_no_other(cluster: None) -> None:
    from lib_ctrlgen.cluster.workers import RayWorkers

    with RayWorkers([Stub(deadly=("1",))]) as workers:
        found = [(task.key, outcome) for task, outcome in workers.each(stacks(4))]
    assert sorted(key for key, _ in found) == ["0", "1", "2", "3"]
    failed = {key: text for key, outcome in found if (text := str(outcome)) != "made"}
    assert list(failed) == ["1"]
    assert "3 workers were lost" in failed["1"]


def test_without_a_worker_left_the_run_ends(cluster: None) -> None:
    from lib_ctrlgen.cluster.workers import RayWorkers

    with (
        RayWorkers([Stub(deadly=("0",), restartable=False)]) as workers,
        pytest.raises(HostError, match="no worker is left"),
    ):
        list(workers.each(stacks(2)))


def test_an_interrupt_ends_what_was_started(cluster: None) -> None:
    import ray
    from ray.exceptions import RayActorError

    from lib_ctrlgen.cluster.workers import RayWorkers

    actors: list[Any] = []

    def run() -> None:
        with RayWorkers([Stub()]) as workers:
            actors.append(workers.idle[0].actor)
            next(workers.each(stacks(3)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()

    def dead() -> bool:
        try:
            ray.get(actors[0].stop.remote())
        except RayActorError:
            return True
        return False

    assert any(dead() or time.sleep(0.1) for _ in range(300))  # it may take a moment
    assert ray.is_initialized()


def tuned_on(webuis: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """`ctrlgen tune --webui ...` on the cluster of these tests; the exit code."""
    monkeypatch.setattr(spread, "connected", lambda _address: nullcontext())
    job = folder / "job.yaml"
    tune = {"x": {"path": "Unit 0 weight", "values": "0-1 [5]"}, "y": {"path": "Steps", "values": "2, 3"}}
    unit = PAYLOAD["units"][0]
    job.write_text(json.dumps({"prompt": "a", "width": 64, "height": 64, "units": [unit], "tune": tune}))
    addresses = [part for url in webuis for part in ("--webui", url)]
    return main(["tune", str(job), "--out", str(folder / "out"), *addresses])


def test_webuis_share_the_cells_and_take_over_what_a_dead_one_had(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lib_ctrlgen.cluster import webuis

    monkeypatch.setattr(webuis, "WebUIRecipe", partial(webuis.WebUIRecipe, silence=0.5))
    first, other = Jobs(), Jobs()
    other.dies_after = 3
    with serving(first) as one, serving(other) as two:
        assert tuned_on([one, two], tmp_path, monkeypatch) == 0
    said = json.loads((tmp_path / "out/cells.json").read_text("utf-8"))
    assert len(said["cells"]) == 10
    assert all(cell["scores"] == {"over_control": 0.25} for cell in said["cells"])
    assert other.made
    for cell in said["cells"]:
        picture = Image.open(tmp_path / "out" / cell["files"][0])
        weight, steps = cell["values"]
        assert picture.getpixel((0, 0)) == (int(steps), int(100 * float(weight)), 0)
        assert picture.info["parameters"] == f"Steps: {steps}"
    assert "10 pictures made, 0 cells failed" in capsys.readouterr().out


def test_a_webui_that_is_not_there_ends_it_before_anything_runs(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = Jobs()
    with serving(jobs) as one:
        assert tuned_on([one, "http://127.0.0.1:1"], tmp_path, monkeypatch) == 2
    assert "http://127.0.0.1:1: no connection" in capsys.readouterr().err
    assert not jobs.bodies


def test_a_servers_jobs_are_made_on_the_cluster_and_a_lost_actor_is_replaced(
    cluster: None, tmp_path: Path
) -> None:
    import ray

    with service_on_cluster(tmp_path, 2) as service:
        jobs = [service.submit(ANNA, job_of(f"p{number}", seed=number)) for number in range(4)]
        wait_for(lambda: ended(service, *jobs), 120)
        assert {service.store.require(job.id).state for job in jobs} == {"done"}
        assert service.folders.files(jobs[0]) == ["00000.png", "job.json"]
        lost, slow = (service.submit(ANNA, job_of(text, steps=80)) for text in ("lost", "slow"))
        wait_for(lambda: service.progress(lost)[0] > 1, 60)  # the progress comes from the actor
        actor: Any = service.running[lost.id].worker
        ray.kill(actor.actor)
        wait_for(lambda: ended(service, lost), 120)
        found = service.store.require(lost.id)
        assert (found.state, found.attempts) == ("done", 2)
        wait_for(lambda: service.progress(slow)[0] > 1, 60)
        service.cancel(slow)
        wait_for(lambda: ended(service, slow), 60)
        assert service.store.require(slow.id).state == "cancelled"
    done = [line[1] for line in lines_of(tmp_path / "log.txt", "end")]
    assert sorted(done) == sorted([*(job.id for job in jobs), lost.id])
