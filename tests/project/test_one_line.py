"""A control family, a preprocessor and a score are one file and one line: toys are found everywhere."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms import unit_fields
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, json_schema, parse_request
from lib_ctrlgen.tuner.axes import parse_axis
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring import catalogue as scores
from lib_ctrlgen.tuner.scoring.confidence import confidence_of
from lib_ctrlgen.tuner.scoring.recommend import best_scores, front, recommend
from lib_ctrlgen.tuner.search.early_stopping import clearly_beaten, objectives
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support import toys
from tests.support.analytic_host import AnalyticHost
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.shown_params import family_updates, made_component, preprocessor_html, shown_params
from tests.support.unit_values import unit_values, with_params
from tools import docs_tables

UNIT = {"model": "toy", "image": files.drawn_url(), "preprocessor": "toy_blur"}
PAYLOAD: dict[str, Any] = {
    "prompt": "a red star", "width": 64, "height": 64, "steps": 2, "sampler": "DDIM", "units": [UNIT],
}  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CONTROLS", (*catalogue.CONTROLS, toys.FAMILY))
    monkeypatch.setattr(catalogue, "PREPROCESSORS", (*catalogue.PREPROCESSORS, toys.PREPROCESSOR))
    monkeypatch.setattr(scores, "SCORES", (*scores.SCORES, toys.SCORE))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.write_model(folder)
    save_file(
        {"toy.token": 20 * torch.randn(files.CONTEXT, generator=torch.Generator().manual_seed(0))},
        folder / "toy.safetensors",
    )
    return folder


def run(root: Path, out: Path, values: str = "0, 2") -> TunerResult:
    spec = parse_request({"x": {"path": "units.0.params.strength", "values": values}}, TuneSpec)
    host = EngineHost(engine=Engine([root], 1 << 28))
    return Tuner(host, grid_of(PAYLOAD, spec, GenerationRequest), out).run(lambda _progress: None)


def test_the_schema_names_the_family_and_the_preprocessor() -> None:
    for kind in (ControlRequest, GenerationRequest):
        fields = json_schema(kind)["$defs"]["ControlUnit"]["properties"]
        assert "toy" in fields["control"]["enum"]
        assert "toy_blur" in fields["preprocessor"]["anyOf"][0]["enum"]
    unit = parse_request({"units": [UNIT | {"control": "toy"}]}).units[0]
    assert (unit.control, unit.preprocessor) == ("toy", "toy_blur")


def test_the_command_line_lists_both(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["preprocessors"])
    listed = capsys.readouterr().out
    assert "toy_blur" in listed
    assert "radius: 0..9 (default 2)" in listed
    main(["models", "--models", str(root)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("toy [")]
    assert line.split("]")[1].split()[0] == "toy"


def test_the_panel_offers_both_and_shows_their_sliders(host: FakeWebUI, root: Path) -> None:
    host.flags.ctrlgen_models_path = [str(root)]
    fresh("panel.panel").build_panel("txt2img")
    start = "ctrlgen_txt2img_unit0_"
    assert "toy_blur" in made_component(f"{start}preprocessor").options["choices"]
    assert "toy" in made_component(f"{start}model").options["choices"]
    family = family_updates("toy")["family_params"]
    assert family["visible"] is True
    (strength,), (radius,) = map(shown_params, (family["value"], preprocessor_html("toy_blur")))
    assert (strength.id, radius.id) == (f"{start}toy_strength", f"{start}toy_blur_radius")
    for shown, default, most in ((strength, 1.0, 2), (radius, 2, 9)):
        assert shown.types == ["number", "range"]
        assert shown.default == default
        for each in shown.inputs:
            limits = [float(each[name] or "") for name in ("min", "max", "value")]
            assert limits == [0, most, default]
    assert preprocessor_html("none") == ""
    assert family_updates("controlnet")["family_params"]["visible"] is False


def test_what_the_sliders_say_is_sent_and_comes_back(host: FakeWebUI) -> None:
    named = {"enabled": True, "model": "toy", "preprocessor": "toy_blur"}
    values = unit_values(**named, toy_strength=0.5, toy_blur_radius=3)
    assert json.loads(values["param_values"]) == {"toy_strength": 0.5, "toy_blur_radius": 3}
    sent = unit_fields.unit_settings(values, "$")
    assert sent["params"] == {"radius": 3, "strength": 0.5}
    shown = with_params(unit_fields.panel_values(sent))
    assert (shown["toy_strength"], shown["toy_blur_radius"], shown["params"]) == (0.5, 3, "")


def test_rest_lists_both(host: FakeWebUI, root: Path) -> None:
    host.flags.ctrlgen_models_path = [str(root)]
    api = fresh("api")
    assert "toy" in api.models()["models"]
    listed = {each["name"]: each for each in api.preprocessors()["preprocessors"]}
    assert listed["toy_blur"]["params"][0]["name"] == "radius"
    assert "toy" in json.dumps(api.schema())


def test_the_tuner_takes_their_parameters_as_axes(root: Path, tmp_path: Path) -> None:
    assert parse_axis("units.0.params.strength", "0-2 [3]").shown == ("0", "1", "2")
    with pytest.raises(RequestError, match=r"values\[1\]: 3: .*strength") as caught:
        run(root, tmp_path, "0, 3")
    assert "out of range" in str(caught.value)


def test_a_generation_is_made_scored_and_reported(root: Path, tmp_path: Path) -> None:
    tuned = run(root, tmp_path)
    rows = list(csv.DictReader((tmp_path / "cells.csv").read_text("utf-8").splitlines()))
    assert len({row["ink"] for row in rows}) == 2, "the family acts"
    assert all(0 <= float(row["adherence.0"]) <= 1 for row in rows), "the preprocessor is compared"
    page = tuned.report.read_text("utf-8")
    assert "ink used" in page
    assert '"ink": {"label": "ink used", "less": true, "way": "less is better"}' in page
    assert "least ink used" in page
    assert "less is better" in (tmp_path / "heat-ink.svg").read_text("utf-8")


def test_a_cell_without_the_new_score_is_measured_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "SCORES", scores.SCORES[:-1])
    assert run(root, tmp_path).made
    monkeypatch.setattr(scores, "SCORES", (*scores.SCORES, toys.SCORE))
    assert run(root, tmp_path).made == 0, "from the pictures that are there"
    rows = csv.DictReader((tmp_path / "cells.csv").read_text("utf-8").splitlines())
    assert all(row["ink"] for row in rows)
    assert run(root, tmp_path).made == 0


@pytest.mark.parametrize("name", ["ink", "ink.0"])
def test_a_cost_counts_the_right_way_round(name: str) -> None:
    numbers = [(0.9, 0.4), (0.9, 0.1), (0.5, 0.0)]
    cells = [{"adherence.0": follows, name: cost} for follows, cost in numbers]
    assert front(cells) == (1, 2)
    assert best_scores(cells)[2] == [name]
    choice = recommend(cells)
    assert choice is not None
    assert choice.cell == 1
    assert "least ink used of such cells (0.10)" in choice.reason
    sure = confidence_of(cells, [{"ink": 0.1}] * 3, 4, ["a", "b", "c"])
    assert sure is not None
    assert (sure.score, sure.runner_up) == ("ink", 0)
    assert sure.probability is not None
    assert sure.probability > 0.5
    assert recommend([{name: 0.4}, {name: 0.1}]) is None, "a cost alone says nothing is good"
    worse, better = objectives(cells[0]), objectives(cells[1])
    assert list(worse) == ["adherence", "ink"]
    rivals = [better, better, worse, worse]
    assert clearly_beaten(worse, rivals)
    assert not clearly_beaten(better, rivals)


def test_a_cell_that_lacks_a_cost_is_not_the_cheapest() -> None:
    choice = recommend([{"adherence.0": 0.9}, {"adherence.0": 0.9, "ink": 0.4}])
    assert choice is not None
    assert choice.cell == 1


def test_a_new_score_of_which_more_is_better_can_recommend(monkeypatch: pytest.MonkeyPatch) -> None:
    light = scores.Score(name="light", label="light", about="", place="")
    monkeypatch.setattr(scores, "SCORES", (*scores.SCORES, light))
    choice = recommend([{"light": 0.1}, {"light": 0.3}])
    assert choice is not None
    assert (choice.cell, choice.reason) == (1, "It has the most light: 0.30.")


def test_a_search_is_for_less_of_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner

    class Inked(AnalyticHost):
        def scores(self, *args: Any) -> Any:
            found = super().scores(*args)
            return toys.Scores({**found.values, "ink": args[2].steps / 20})

    auto = {"budget": 6, "ranges": [{"path": "Unit 0 weight", "values": "0-2"}]}
    payload: dict[str, Any] = {"prompt": "a", "cfg_scale": 12, "units": [{"model": "a"}, {"model": "b"}]}
    spec = parse_request({"auto": auto}, TuneSpec)
    tuner = auto_tuner(Inked(), payload, spec, GenerationRequest, tmp_path)
    tuner.run(lambda _progress: None)
    assert tuner.kinds == ("adherence", "over_control", "ink")
    assert tuner.search is not None
    assert [each.name for each in tuner.search.study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]


def test_the_documentations_tables_name_all_three() -> None:
    page = docs_tables.with_tables(docs_tables.PAGE.read_text("utf-8"))
    assert "| `toy` | Toy family | `strength`: 0..2 (default 1.0) |" in page
    assert "| `toy_blur` | Toy blur | `radius`: 0..9 (default 2) |" in page
    assert "| `ink` | ink used | less is better | 0..1: mean darkness |" in page


def test_the_documentations_tables_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    page = docs_tables.PAGE.read_text("utf-8")
    assert docs_tables.with_tables(page) == page, "run `python tools/docs_tables.py`"
