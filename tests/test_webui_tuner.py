"""The tuner's script: its arguments, and what a cell says to the WebUI."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.spec import parse_request
from tests.fake_webui import FakeWebUI, fresh, served

UNIT = {"model": "a", "image": "x"}
AUTO = {"budget": 8, "ranges": [{"path": "Unit 0 weight", "values": "0-2"}]}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeWebUI]:
    with served(FakeWebUI(), tmp_path) as webui:
        yield webui


@pytest.fixture
def script(host: FakeWebUI) -> Any:
    return fresh("tuner_script")


@pytest.fixture
def tuner(host: FakeWebUI) -> Any:
    return fresh("tuner")


def generation(**fields: Any) -> Any:
    plain = {
        "prompt": "a", "negative_prompt": "", "steps": 20, "sampler_name": "Euler", "width": 64, "height": 64,
        "cfg_scale": 7, "seed": -1, "n_iter": 1, "batch_size": 1, "styles": [], "override_settings": {},
        "extra_generation_params": {}, "script_args": ["", 1], "outpath_grids": "grids",
    }  # fmt: skip
    return SimpleNamespace(**plain | fields)


def test_axes_come_as_json_or_from_the_fields(script: Any) -> None:
    said = {"x": {"path": "Steps", "values": "1, 2"}, "seeds": 2, "name": "mine"}
    by_object, name = script.read_tune([said])
    assert (by_object.seeds, name) == (2, "mine")
    by_fields, name = script.read_tune(["", "Steps", "1, 2", "", "", None, None, 2.0, " mine".strip(), False])
    assert (by_fields, name) == (by_object, "mine")
    assert script.read_tune(['{"x": {"path": "Steps", "values": [1]}}'])[0].x.values == [1]


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ([], "$.tune.x"), (["{"], "$.tune"), (["[]"], "$.tune"), ([{"w": 1}], "$.tune.w"),
        ([{"x": {"path": "Steps", "values": 1}}], "$.tune.x.values"),
        ([{"x": {"path": "Steps", "values": "1"}, "auto": AUTO}], "$.tune.x"),
    ],
)  # fmt: skip
def test_wrong_axes_say_where(script: Any, args: list[Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        script.read_tune(args)
    assert caught.value.path == path


def test_a_search_comes_as_json_too(
    script: Any, tuner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, name = script.read_tune([{"auto": AUTO, "seeds": 2, "name": "mine"}])
    assert (tune.auto.budget, name) == (8, "mine")
    script.shared.state = SimpleNamespace()
    p = generation()
    payload = tuner.payload_of(p, parse_request({"units": [UNIT]}))
    found = script.tuner_of(tune, tuner.WebUIHost(p=p, place=0), payload, tmp_path / "out")
    assert found.space.start == (1,)
    assert script.shared.state.job_count == 4
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lib_ctrlgen.tuner.search")
    monkeypatch.delattr("lib_ctrlgen.tuner.search", raising=False)
    with pytest.raises(RequestError, match="WebUI's own environment") as caught:
        script.tuner_of(tune, tuner.WebUIHost(p=p, place=0), payload, tmp_path / "out")
    assert caught.value.path == "$.tune.auto"


def test_a_generation_becomes_a_payload_and_a_cell_a_generation(tuner: Any) -> None:
    p = generation()
    payload = tuner.payload_of(p, parse_request({"units": [UNIT]}))
    assert (payload["seed"], payload["cfg_scale"], payload["sampler"]) == (77, 7.0, "Euler")
    host = tuner.WebUIHost(p=p, place=0)
    changed = payload | {"steps": 5, "cfg_scale": "7>3", "model": "other", "prompt": "b"}
    made = host.generation(host.batch(changed, 3))
    assert (made.steps, made.batch_size, made.seed, made.prompt) == (5, 3, 77, "b")
    assert made.override_settings == {"sd_model_checkpoint": "other"}
    assert made.script_args == [{"units": [UNIT], "cfg_scale": "7@0, 3@1"}, 1]
    plain = host.generation(host.batch(payload | {"cfg_scale": 4}, 1))
    assert (plain.cfg_scale, plain.script_args[0]) == (4.0, {"units": [UNIT]})
    assert vars(p) == vars(generation())


def test_what_a_tuner_cannot_run_is_refused(tuner: Any) -> None:
    with pytest.raises(RequestError) as caught:
        tuner.payload_of(generation(batch_size=2), parse_request({}))
    assert caught.value.path == "$.tune.seeds"
    for name in ("../out", "a/b", ".."):
        with pytest.raises(RequestError):
            tuner.folder_of(generation(), name, "key")
    assert tuner.folder_of(generation(), "", "key").name == "key"
