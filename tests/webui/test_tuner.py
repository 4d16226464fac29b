"""The tuner's script: its arguments, and the generation that a cell becomes."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save_file

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.forms.field_errors import mark_of_error
from lib_ctrlgen.forms.tuner_places import TUNER_LABELS
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh

UNIT = {"model": "a", "image": files.drawn_url(), "preprocessor": "canny"}
AUTO = {"budget": 8, "ranges": [{"path": "Unit 0 weight", "values": "0-2"}]}


@pytest.fixture
def script(host: FakeWebUI, model: None) -> Any:
    return fresh("tuner.script")


def plan_of(*given: Any) -> Any:
    """A plan by the module that the script imports when it runs."""
    return import_module("lib_ctrlgen.webui.tuner.plan").plan_of(*given)


@pytest.fixture
def model(tmp_path: Path) -> None:
    folder = tmp_path / "models/ControlNet"
    folder.mkdir(parents=True)
    save_file(files.controlnet_tensors(), folder / "a.safetensors")


@pytest.fixture
def tuner(host: FakeWebUI, model: None) -> Any:
    return fresh("tuner.host")


def generation(**fields: Any) -> Any:
    plain = {
        "prompt": "a", "negative_prompt": "", "steps": 20, "sampler_name": "Euler", "width": 64, "height": 64,
        "cfg_scale": 7, "seed": -1, "n_iter": 1, "batch_size": 1, "styles": [], "override_settings": {},
        "extra_generation_params": {}, "script_args": ["", 1], "outpath_grids": "grids",
        "subseed": 5, "subseed_strength": 0,
    }  # fmt: skip
    return SimpleNamespace(**plain | fields)


def test_axes_come_as_json_or_from_the_fields(script: Any) -> None:
    said = {"x": {"path": "Steps", "values": "1, 2"}, "seeds": 2, "name": "mine"}
    by_object, name = script.read_tune([said])
    assert (by_object.seeds, name) == (2, "mine")
    by_fields, name = script.read_tune(["", "Steps", "1, 2", "", "", None, None, 2.0, " mine".strip(), False])
    assert (by_fields, name) == (by_object, "mine")
    search, _ = script.read_tune(["", "CFG", "3-9", "", "", "", "", 2, "", False, 24])
    assert (search.auto.budget, search.x) == (24, None)
    assert [(each.path, each.values) for each in search.auto.ranges] == [("CFG", "3-9")]
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


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        (["", "", "Weight of unit 0", "1, 2"], "x_path", "is required: choose what varies."),
        (["Weight of unit 0", "abc"], "x_values", "abc: expected a value (a number) at character"),
        (["Strngth of unit 0", "1, 2"], "x_path", "there is no axis 'Strngth of unit 0' (nearest: "),
        (["Stepps", "1, 2"], "x_path", "there is no axis 'Stepps' (nearest: Steps"),
        (["Steps", "1, 2", "", "", "", "", 1, "a/b"], "name", "expected a plain folder name"),
        (["Steps", "1-200 [200]", "", "", "", "", 3, ""], "force", "600 pictures are more than 400"),
        (["", "", "CFG", "9-3", "", "", 1, "", False, 8], "y_values", "9 must be less than 3."),
        (["", "", "", "", "", "", 1, "", False, 8], "x_path", "choose what varies."),
    ],
)
def test_a_mistake_is_said_at_its_field(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: list[Any], field: str, sentence: str
) -> None:
    p = generation(outpath_grids=str(tmp_path), is_api=False, comments=[])
    p.comment = p.comments.append
    monkeypatch.setattr(script, "controls", lambda _p: SimpleNamespace(args_from=0, args_to=1))
    monkeypatch.setattr(script, "read_request", lambda *_args, **_options: parse_request({"units": [UNIT]}))
    monkeypatch.setattr(script, "init_pictures", lambda _p: None)
    processed = SimpleNamespace(extra_generation_params={})
    monkeypatch.setattr(script.processing, "Processed", lambda *_args: processed, raising=False)
    answer = script.TunerScript().run(p, "", *fields)
    (mark,) = answer.extra_generation_params["CtrlGen marks"]
    assert mark["elements"] == [f"script_{{tab}}_ctrlgen_xy_tuner_{field}"]
    label = TUNER_LABELS[field]
    assert p.comments[0].startswith(f"CtrlGen: {label}: {sentence}")
    assert "$" not in p.comments[0]


def test_a_search_comes_as_json_too(
    script: Any, tuner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, name = script.read_tune([{"auto": AUTO, "seeds": 2, "name": "mine"}])
    assert (tune.auto.budget, name) == (8, "mine")
    p = generation()
    p.outpath_grids = str(tmp_path)
    plan = plan_of(p, parse_request({"units": [UNIT]}), tune, name)
    assert (plan.cells, plan.pictures, plan.grid) == (4, 8, None)
    assert plan.tuner(tuner.WebUIHost(p=p, place=0)).space.start == (1,)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lib_ctrlgen.tuner.search.study")
    monkeypatch.delattr("lib_ctrlgen.tuner.search.study", raising=False)
    with pytest.raises(RequestError, match=r"-m pip install optuna`$") as caught:
        plan_of(p, parse_request({"units": [UNIT]}), tune, name)
    assert caught.value.path == "$.tune.auto"
    assert mark_of_error(caught.value).elements == ("script_{tab}_ctrlgen_xy_tuner_budget",)


@pytest.mark.parametrize("here", [True, False])
def test_a_missing_optuna_is_said_beside_the_field(
    script: Any, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", SimpleNamespace(__spec__="here") if here else None)
    made = script.TunerScript()
    made.elem_id = str
    Component.made = []
    made.ui(is_img2img=False)
    said = [each.value for each in Component.made if each.elem_id == "optuna"]
    assert len(said) == (not here)
    assert all(f"{sys.executable} -m pip install optuna" in text for text in said)


@pytest.mark.parametrize(
    ("axis", "place", "said"),
    [
        ({"path": "Unit 0 model", "values": "a, nothing-like-it"}, 1, "no model named 'nothing-like-it'"),
        ({"path": "Unit 0 preprocessor", "values": "cany, canny"}, 0, "unknown value 'cany'"),
        ({"path": "units.0.params.low_threshold", "values": "50, 300"}, 1, "out of range"),
        ({"path": "Sampler", "values": "Euler, Oiler"}, 1, "unknown sampler 'Oiler'; nearest: Euler"),
        ({"path": "Scheduler", "values": "Karras, karass"}, 1, "unknown schedule type"),
        ({"path": "Checkpoint", "values": "other, another"}, 1, "no checkpoint named 'another'"),
    ],
)
@pytest.mark.parametrize("search", [False, True])
def test_wrong_names_are_found_before_anything_runs(
    script: Any, tmp_path: Path, axis: dict[str, str], place: int, said: str, search: bool
) -> None:
    sent = {"auto": AUTO | {"ranges": [axis]}} if search else {"x": axis}
    p = generation(outpath_grids=str(tmp_path / "grids"))
    tune, name = script.read_tune([sent])
    with pytest.raises(RequestError, match=said) as caught:
        plan_of(p, parse_request({"units": [UNIT]}), tune, name)
    wanted = "$.tune.auto.ranges[0].values" if search else f"$.tune.x.values[{place}]"
    assert caught.value.path == wanted
    assert not (tmp_path / "grids").exists()


def test_a_sampler_is_called_as_the_webui_calls_it(tuner: Any) -> None:
    names = fresh("tuner.name_check").sampler_names
    assert names("DPM++ 2M", "Karras") == ("DPM++ 2M", "Karras")
    assert names("DPM++ 2M Karras", "Automatic") == ("DPM++ 2M", "Karras")
    assert names("euler", "") == ("Euler", "")


def test_a_generation_becomes_a_payload_and_a_cell_a_generation(tuner: Any) -> None:
    p = generation()
    payload = tuner.payload_of(p, parse_request({"units": [UNIT]}))
    assert (payload["seed"], payload["cfg_scale"], payload["sampler"]) == (77, 7.0, "Euler")
    host = tuner.WebUIHost(p=p, place=0, subseed=5)
    changed = payload | {"steps": 5, "cfg_scale": "7>3", "model": "other", "prompt": "b"}
    made = host.generation(tuner.batch_of([host.batch(changed, 3)]))
    assert (made.steps, made.batch_size, made.seed, made.prompt) == (5, 3, 77, "b")
    assert made.override_settings == {"sd_model_checkpoint": "other"}
    assert made.script_args == [{"units": [UNIT], "cfg_scale": "7@0, 3@1"}, 1]
    plain = host.generation(tuner.batch_of([host.batch(payload | {"cfg_scale": 4}, 1)]))
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


def test_cells_that_are_alike_become_one_batch(tuner: Any) -> None:
    p = generation(subseed_strength=0.5)
    host = tuner.WebUIHost(p=p, place=0, subseed=5)
    payload = tuner.payload_of(p, parse_request({"units": [UNIT]}))
    cells = [
        host.batch(payload | {"units": [UNIT | {"weight": weight}], "cfg_scale": scale}, 2)
        for weight, scale in ((0.5, 7), (1, "7>3"))
    ]
    assert host.alike(cells[0]) == host.alike(cells[1])
    made = host.generation(tuner.batch_of(cells))
    assert (made.batch_size, made.n_iter) == (4, 1)
    assert (made.seed, made.subseed) == ([77] * 4, [5, 6, 5, 6])
    batch = made.script_args[0]
    cells_module = __import__("lib_ctrlgen.webui.sampling.cell_batch", fromlist=["guidance_of"])
    assert [request.units[0].weight.constant for request in batch.requests] == [0.5, 1]
    assert (batch.scales, batch.sizes) == ((7, 7), (2, 2))
    assert [str(scale) for scale in cells_module.guidance_of(batch)] == ["7", "7", "7@0, 3@1", "7@0, 3@1"]
    plain = tuner.WebUIHost(p=generation(), place=0).generation(tuner.batch_of(cells))
    assert plain.seed == [77, 78, 77, 78]


def test_cells_that_are_not_alike_are_made_apart(tuner: Any) -> None:
    p = generation()
    host = tuner.WebUIHost(p=p, place=0)
    payload = tuner.payload_of(p, parse_request({"units": [UNIT]}))

    def key(**changes: Any) -> str:
        return str(host.alike(host.batch(payload | changes, 1)))

    assert key() == key(cfg_scale=3) == key(seed=9)
    assert key() != key(steps=9)
    assert key() != key(prompt="b")
    assert key(sampler="DPM adaptive") != key(sampler="DPM adaptive", cfg_scale=3)


def test_everything_that_makes_the_picture_is_in_a_cells_name(tuner: Any) -> None:
    from PIL import Image

    request = parse_request({"units": [UNIT]})
    plain = tuner.payload_of(generation(), request)["host"]
    assert plain == tuner.payload_of(generation(subseed=9, outpath_grids="other"), request)["host"]
    others = [
        {"enable_hr": True},
        {"subseed_strength": 0.1},
        {"override_settings": {"sd_vae": "other"}},
        {"init_images": [Image.new("RGB", (8, 8))]},
    ]
    assert plain not in [tuner.payload_of(generation(**own), request)["host"] for own in others]


def test_every_cell_begins_with_the_first_ones_latents(host: FakeWebUI) -> None:
    import torch

    x = torch.arange(4.0).reshape(4, 1, 1, 1)
    fresh("sampling.cell_batch").SharedInitLatents(2).begin(None, x, None)
    assert x.flatten().tolist() == [0, 1, 0, 1]


def test_equal_latents_are_decoded_once(host: FakeWebUI) -> None:
    import torch

    class Model:
        decoded = 0

        def decode_first_stage(self, latents: Any) -> Any:
            self.decoded += 1
            return latents * 2

    model = Model()
    with fresh("sampling.decode_cache").decoded_once(model):
        found = [model.decode_first_stage(torch.full((1, 2), value)) for value in (1.0, 2.0, 1.0)]
    assert [float(each[0, 0]) for each in found] == [2, 4, 2]
    assert model.decoded == 2
    assert vars(model) == {"decoded": 2}


def test_a_skipped_cell_is_not_a_finished_one(
    host: FakeWebUI, tuner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = SimpleNamespace(extra_generation_params={})
    made = SimpleNamespace(images=["half"], infotexts=["text"], all_seeds=[1], index_of_first_image=0)
    processing = sys.modules["modules.processing"]
    monkeypatch.setattr(processing, "process_images", lambda p: made, raising=False)
    monkeypatch.setattr(tuner.WebUIHost, "generation", lambda self, requests: p)
    worker = tuner.WebUIHost(p=generation(), place=0)
    requests = [SimpleNamespace(batch_size=1)]
    assert worker.generate(requests)[0].images == ("half",)
    host.state.skipped = True
    with pytest.raises(HostError, match="skipped before it was finished"):
        worker.generate(requests)
