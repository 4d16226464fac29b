"""Distributed tuning without Ray: batches, model files, and cells that a WebUI makes over HTTP."""

import argparse
import base64
import doctest
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.client.connection import Connection
from lib_ctrlgen.cluster import batches, connect, models, webui_job
from lib_ctrlgen.cluster import pool as spread
from lib_ctrlgen.cluster.actor import LostError, sendable
from lib_ctrlgen.cluster.batches import LOSSES, Batches
from lib_ctrlgen.cluster.connect import fitting_engines, stay_on_loopback
from lib_ctrlgen.cluster.options import PoolOptions, add_options, pool_options
from lib_ctrlgen.cluster.webui_job import jobs_of
from lib_ctrlgen.cluster.webuis import WebUIMaker, WebUIRecipe
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.tuner.run import Outcome
from lib_ctrlgen.tuner.worker import ScoredCell, Task
from tests.support import headless_models
from tests.support.fake_job_route import Jobs, colour, serving

ROOT = Path(__file__).resolve().parents[2]

UNIT = {"model": "edges", "image": "data:image/png;base64,AAAA"}
BASE = {"prompt": "a", "width": 64, "height": 64, "steps": 4, "seed": 3, "units": [UNIT], "cfg_scale": 5}


def cells(*changes: dict[str, Any]) -> list[tuple[str, Any]]:
    found = [to_payload(parse_request(BASE | change, GenerationRequest), whole=True) for change in changes]
    return [(str(number), payload) for number, payload in enumerate(found)]


def weighted(weight: Any) -> dict[str, Any]:
    return {"units": [UNIT | {"weight": weight}]}


@pytest.mark.parametrize("module", [batches, connect, webui_job])
def test_what_the_docstrings_say_holds(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


# Batches


def tasks(count: int) -> list[Task]:
    return [Task(key=str(number), request=None) for number in range(count)]


def test_every_worker_gets_some_and_stacks_stay_together() -> None:
    shared = Batches([tasks(12), tasks(2)], 2)
    assert [len(batch.tasks) for batch in shared.waiting] == [3, 3, 3, 3, 2]
    assert [len(batch.tasks) for batch in Batches([tasks(1)] * 3, 2).waiting] == [1, 1, 1]
    assert not Batches([], 2)


def test_a_lost_batch_comes_back_then_its_cells_alone_then_none() -> None:
    shared = Batches([tasks(2)], 1)
    shared.waiting.clear()
    batch = Batches([[*tasks(2)]], 0 + 1).take()
    pair = type(batch)(tasks=tuple(tasks(2)))
    for _ in range(LOSSES - 1):
        assert shared.lost(pair) == []
        pair = shared.take()
        assert len(pair.tasks) == 2
    assert shared.lost(pair) == []
    alone = [shared.take(), shared.take()]
    assert [each.tasks[0].key for each in alone] == ["0", "1"]
    ((task, error),) = shared.lost(alone[0])
    assert task.key == "0"
    assert "lost" in str(error)
    assert not shared


def test_a_cluster_is_shared_out() -> None:
    assert fitting_engines([{"CPU": 8.0, "GPU": 1.0}], 4).engines == 2
    assert fitting_engines([{"CPU": 1.0}], None).cores == 1
    with pytest.raises(HostError):
        fitting_engines([], None)


def test_errors_travel_as_their_text() -> None:
    error = sendable(RequestError("$.model", "is not there"))
    assert str(error) == "$.model: is not there"


# Models


def shipped(root: Path, *names: str) -> set[str]:
    return {path.relative_to(root).as_posix() for _, path in models.needed([root], names)}


def test_what_requests_need_is_shipped(root: Path) -> None:
    name = headless_models.NAME
    found = shipped(root, name, f"{name}-edges")
    assert {f"{name}.safetensors", f"{name}.yaml", f"ControlNet/{name}-edges.safetensors"} <= found
    assert {"text/config.json", "text/vocab.json"} <= found
    assert any(path.startswith("clip_vision/") and path.endswith(".safetensors") for path in found)
    assert f"ControlNet/{name}-depth.safetensors" not in found
    assert f"ControlNet/{name}-depth.safetensors" in shipped(
        root, str(root / f"ControlNet/{name}-depth.safetensors")
    )


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="gone"):
        models.SharedModels(folders=(str(tmp_path / "gone"),)).local_folders()


def test_paths_are_called_what_they_are_called_on_the_node() -> None:
    sent = models.ShippedModels(folders=("/far/models",), files=())
    payload = {"model": "/far/models/a/b.ckpt", "units": [UNIT, {"model": "/far/models/c.pt"}], "blend": None}
    moved = models.with_local_names(payload, sent)
    assert moved["model"] == str(sent.base / "0/a/b.ckpt")
    assert [unit["model"] for unit in moved["units"]] == ["edges", str(sent.base / "0/c.pt")]


# A WebUI


def test_cells_that_differ_in_a_few_places_are_one_job() -> None:
    (job,) = jobs_of(cells({"steps": 4} | weighted(0), {"steps": 5} | weighted(0.5), weighted("1>0.2")))
    axis = job.body["tune"]["x"]
    assert set(axis["path"].split("+")) == {"steps", "units.0.weight"}
    assert len(axis["values"]) == 3
    request = job.body["request"]
    assert request["override_settings"] == {"sd_model_checkpoint": "ctrlgen-tiny"}
    assert (request["sampler_name"], request["cfg_scale"], request["seed"]) == ("DPM++ 2M", 5.0, 3)
    (controls,) = request["alwayson_scripts"]["CtrlGen"]["args"]
    assert "cfg_scale" not in controls
    assert controls["units"][0]["model"] == "edges"


def test_what_an_axis_cannot_hold_is_another_job() -> None:
    picture = {"units": [UNIT | {"image": "x" * 2000}]}
    assert len(list(jobs_of(cells({}, picture, {"units": []}, {"batch_size": 2}, {"cfg_scale": "7>3"})))) == 4
    (one,) = jobs_of(cells({}))
    assert one.body["tune"]["x"] == {"path": "steps", "values": [4]}
    (same,) = jobs_of([*cells({}), ("again", cells({})[0][1])])
    assert same.places == {"0": 0, "again": 0}


def test_a_schedule_and_a_path_are_told_in_the_webuis_words() -> None:
    (job,) = jobs_of(cells({"cfg_scale": "7>3", "model": "/models/big one.ckpt"}))
    request = job.body["request"]
    assert request["alwayson_scripts"]["CtrlGen"]["args"][0]["cfg_scale"].startswith("7@0")
    assert request["override_settings"] == {"sd_model_checkpoint": "big one"}
    (padded,) = jobs_of(cells({"pad_cond_uncond": True}))
    assert padded.body["request"]["override_settings"]["pad_cond_uncond"] is True


def made(jobs: Jobs, found: list[tuple[str, Any]], **options: Any) -> dict[str, Outcome]:
    with serving(jobs) as url:
        return dict(WebUIRecipe(url=url, **options).build().make(found))


def test_a_webui_makes_cells() -> None:
    changes = [weighted(0) | {"batch_size": 2}, weighted(0.5) | {"batch_size": 2}]
    outcomes = made(jobs := Jobs(), cells(*changes))
    assert len(jobs.bodies) == 1
    for key, weight in (("0", 0.0), ("1", 0.5)):
        judged = outcomes[key]
        assert isinstance(judged, ScoredCell)
        assert judged.made.seeds == (3, 4)
        payload = {"steps": 4, "seed": 3, "units": [{"weight": weight}]}
        pixels = [image.getpixel((0, 0)) for image in judged.made.images]
        assert pixels == [colour(payload, 0), colour(payload, 1)]
        assert judged.spreads == {"over_control": 0.5}
        assert judged.scores[0].values == {"over_control": 0.25}


def test_what_fails_there_is_the_cells_error() -> None:
    outcomes = made(Jobs(), cells({"steps": 99}, {"steps": 3}))
    assert str(outcomes["0"]) == "no such sampler"
    assert isinstance(outcomes["1"], ScoredCell)
    failing = Jobs()
    failing.failure = "Sampler not found"
    assert str(made(failing, cells({}))["0"]) == "Sampler not found"


def test_a_login_is_sent_and_not_told() -> None:
    jobs = Jobs()
    jobs.auth = "Basic " + base64.b64encode(b"me:se:cret@").decode()
    with serving(jobs) as url:
        with pytest.raises(HostError, match="login"):
            WebUIRecipe(url=url).build()
        address = url.replace("//", "//me:se%3Acret%40@")
        WebUIRecipe(url=address).build()
        assert Connection.to(address).url == url
        assert "cret" not in repr(WebUIRecipe(url=address))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "http://", "http://x:notaport"])
def test_an_address_that_is_none_or_silent_ends_it_at_once(url: str) -> None:
    with pytest.raises(HostError):
        WebUIRecipe(url=url).build()


def test_a_webui_that_dies_is_lost() -> None:
    jobs = Jobs()
    jobs.dies_after = 1
    with pytest.raises(LostError):
        made(jobs, cells({}), silence=0.2)


def test_stopping_stops_the_webui_too() -> None:
    jobs = Jobs()
    jobs.pauses = True
    with serving(jobs) as url:
        maker = WebUIMaker(Connection.to(url))
        threading.Timer(0.3, maker.stop).start()
        with pytest.raises(LostError):
            maker.make(cells({}))
    assert len(jobs.deleted) == 1


# The command line


def test_the_options_say_where(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", type=Path)
    add_options(parser)
    text = "--ray auto --ray-cores 3 --ray-models ship --webui http://a --webui http://b"
    said = pool_options(parser.parse_args(text.split()))
    assert said == PoolOptions(address="auto", cores=3, models="ship", webuis=("http://a", "http://b"))
    with pytest.raises(SystemExit):
        parser.parse_args(["--ray-cores", "0"])


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("{prompt: a, tune: {x: {path: steps, values: '1, 2'}}}")
    monkeypatch.setattr(spread, "find_spec", lambda _name: None)
    assert main(["tune", str(job), "--ray", "local", "--out", str(tmp_path / "out")]) == 2
    assert f'-m pip install -e "{ROOT}[cluster]"' in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_ends_it_at_once(address: str) -> None:
    with pytest.raises(HostError, match="no Ray cluster"):
        connect.require_answer(address)
    connect.require_answer("auto")
    connect.require_answer("local")


def test_a_cluster_of_our_own_is_closed_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    stay_on_loopback()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
