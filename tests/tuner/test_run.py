"""A grid on a random model: which pictures are made, kept and made again."""

import csv
import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_tune_job
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.thumbnails import thumbnail_name
from tests.support import headless_models as models
from tests.support.tuner_grids import PAYLOAD, UNITS, Counting, X, contents, job_file, run


def test_a_grid_is_made_scored_and_reported(engine: Counting, tmp_path: Path) -> None:
    tuned = run(engine, tmp_path)
    assert engine.made == tuned.made == 4 * 2 + 2  # and the uncontrolled ones, once
    rows = list(csv.DictReader((tmp_path / "cells.csv").open(encoding="utf-8")))
    assert [row["Unit 0 weight"] for row in rows] == ["0", "1", "0", "1"]
    summary = json.loads((tmp_path / "cells.json").read_text("utf-8"))
    assert summary["recommended"]["cell"] == tuned.choice.cell if tuned.choice else False
    for cell in summary["cells"]:
        assert {"adherence.0", "reference.1", "over_control"} <= cell["scores"].keys()
        assert cell["scores"].keys() == cell["sd"].keys()
        assert "text_projection" in cell["reasons"]["prompt"]
        assert len(cell["files"]) == 2
        assert cell["request"]["units"][0]["image"].startswith("sha256:")
    page = tuned.report.read_text("utf-8")
    assert (
        page.count("data:image/png;base64,") == 2
    )  # the units' pictures; those of cells are beside the page
    files = [name for cell in summary["cells"] for name in cell["files"]]
    assert all(page.count(name) == 1 and (tmp_path / thumbnail_name(name)).is_file() for name in files)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert len(tuned.sheets) == 1


def test_a_grid_is_the_cells_alone(engine: Counting, tmp_path: Path) -> None:
    run(engine, tmp_path)
    summary = json.loads((tmp_path / "cells.json").read_text("utf-8"))
    units = [UNITS[0] | {"weight": 1}, UNITS[1] | {"weight": 1.5}]
    alone = engine.generate(parse_request(PAYLOAD | {"units": units, "batch_size": 2}, GenerationRequest))
    for file, image in zip(summary["cells"][3]["files"], alone.images, strict=True):
        pair = Image.open(tmp_path / file).convert("RGB"), image
        assert max(high for _, high in ImageChops.difference(*pair).getextrema()) <= 1


def test_the_same_grid_twice_gives_identical_files(engine: Counting, tmp_path: Path) -> None:
    run(engine, tmp_path / "a")
    run(engine, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_running_again_makes_nothing_and_new_values_the_new_cells_only(
    engine: Counting, tmp_path: Path
) -> None:
    run(engine, tmp_path)
    before = contents(tmp_path)
    assert run(engine, tmp_path).made == 0
    assert contents(tmp_path) == before
    assert run(engine, tmp_path, x=X | {"values": "0, 0.5, 1"}).made == 2 * 2
    (tmp_path / json.loads((tmp_path / "cells.json").read_text())["cells"][0]["files"][0]).unlink()
    assert run(engine, tmp_path, x=X | {"values": "0, 0.5, 1"}).made == 2


def test_uncontrolled_pictures_that_a_crash_left_incomplete_are_made_again(
    engine: Counting, tmp_path: Path
) -> None:
    run(engine, tmp_path)
    before = contents(tmp_path)
    min((tmp_path / "uncontrolled").iterdir()).unlink()
    min((tmp_path / "cells").glob("*.json")).unlink()
    assert run(engine, tmp_path).made == 2 + 2
    assert contents(tmp_path).keys() == before.keys()


def test_an_interrupted_run_goes_on_where_it_stopped(engine: Counting, tmp_path: Path) -> None:
    engine.stops_after = 6
    steps = {"path": "Steps", "values": "3, 2"}
    with pytest.raises(KeyboardInterrupt):
        run(engine, tmp_path / "a", y=steps)
    assert len(json.loads((tmp_path / "a/cells.json").read_text("utf-8"))["cells"]) == 2
    assert (tmp_path / "a/report.html").is_file()
    engine.stops_after = None
    assert run(engine, tmp_path / "a", y=steps).made == 4 + 2
    run(engine, tmp_path / "b", y=steps)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_failing_cell_is_marked_and_the_rest_goes_on(engine: Counting, tmp_path: Path) -> None:
    engine.fails = (1.0,)
    tuned = run(engine, tmp_path)
    assert [bool(each.error) for each in tuned.done] == [False, True, False, True]
    assert "out of memory" in tuned.report.read_text("utf-8")
    engine.fails = ()
    assert run(engine, tmp_path).made == 4


def test_a_control_that_is_not_finite_is_a_failing_cell(root: Path, tmp_path: Path) -> None:
    name = f"{models.NAME}-edges"
    tensors = load_file(root / "ControlNet" / f"{name}.safetensors")
    damaged = {key: torch.full_like(each, torch.inf) for key, each in tensors.items()}
    save_file(damaged, tmp_path / "inf.safetensors")
    axis = {"path": "units.0.model", "values": [name, "inf"]}
    tuned = run(Counting([root, tmp_path], 1 << 28), tmp_path / "out", x=axis, y=None)
    good, bad = tuned.done
    assert not good.error
    assert bad.error.startswith("$.units[0]: with 'inf' the U-Net's prediction is not finite")
    assert bad.files == ()
    assert bad.means == {}


def test_three_axes_make_a_sheet_per_z(engine: Counting, tmp_path: Path) -> None:
    tuned = run(engine, tmp_path, z={"path": "CFG", "values": "2, 4"}, seeds=1)
    assert [path.name for path in tuned.sheets] == ["sheet-z0.png", "sheet-z1.png"]
    one = run(engine, tmp_path / "line", y=None, seeds=1)
    assert [path.name for path in one.sheets] == ["sheet.png"]


def test_seeds_and_a_batch_are_not_both(engine: Counting, tmp_path: Path) -> None:
    spec = parse_request({"x": X, "seeds": 2}, TuneSpec)
    grid = grid_of(PAYLOAD | {"batch_size": 3}, spec, GenerationRequest)
    with pytest.raises(RequestError) as caught:
        Tuner(EngineHost(engine=engine), grid, tmp_path)
    assert caught.value.path == "$.tune.seeds"


def command(tmp_path: Path, root: Path, **tune: Any) -> int:
    return main(
        ["tune", str(job_file(tmp_path, **tune)), "--models", str(root), "--out", str(tmp_path / "out")]
    )


def test_when_every_cell_fails_the_command_fails_and_says_why(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sick(self: Engine, requests: Sequence[GenerationRequest], progress: Any = None) -> Any:
        raise RuntimeError("the model is sick")

    monkeypatch.setattr(Engine, "together", sick)
    assert command(tmp_path, root) == 2
    said = capsys.readouterr()
    assert "0 pictures made, 2 cells failed" in said.out
    assert "every cell failed: the model is sick (2 of 2)" in said.err
    assert "No recommendation" in (tmp_path / "out/report.html").read_text("utf-8")


def test_an_interrupt_says_how_to_go_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(self: Engine, requests: Sequence[GenerationRequest], progress: Any = None) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "together", stopped)
    monkeypatch.setattr(sys, "argv", ["/bin/ctrlgen", "tune", "my job.yaml", "--set", "steps=2"])
    assert command(tmp_path, root) == 130
    said = capsys.readouterr().err
    assert f"finished cells are kept in {tmp_path / 'out'}" in said
    assert "continue with: ctrlgen tune 'my job.yaml' --set steps=2" in said


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prompt: a", "$.tune"),
        ("tune: {}", "$.tune.x"),
        ("tune: {x: {path: steps, values: 1}}", "$.tune.x.values"),
        ("tune: {x: {path: steps, values: '1'}, w: 1}", "$.tune.w"),
    ],
)
def test_a_job_without_good_axes_is_refused(tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(RequestError) as caught:
        read_tune_job(file)
    assert caught.value.path == path


def test_the_example_is_valid() -> None:
    job = read_tune_job(Path(__file__).parents[2] / "examples/tune.yaml")
    assert len(grid_of(job.payload, job.tune, GenerationRequest).cells) == 12


def test_the_recommended_cell_holds_the_lines_without_looking_traced(tmp_path: Path) -> None:
    """On the bundled tiny model, which knows what an edge is."""
    layout = (Path(__file__).parents[2] / "examples/pictures/layout.png").read_bytes()
    edges = {"model": "ctrlgen-tiny-edges", "preprocessor": "canny", "image": b64encode(layout).decode()}
    size = {"width": 128, "height": 128, "steps": 6}
    job = PAYLOAD | size | {"prompt": "a cross on a background", "units": [edges], "seed": 1}
    weights = {"path": "Unit 0 weight", "values": "0, 1, 3"}
    spec = parse_request({"x": weights, "seeds": 2}, TuneSpec)
    engine = Engine([tiny_folder()], 1 << 30)
    tuner = Tuner(EngineHost(engine=engine), grid_of(job, spec, GenerationRequest), tmp_path)
    tuned = tuner.run(lambda _progress: None)
    assert tuned.choice is not None
    scores = [each.means for each in tuned.done]
    chosen, best = scores[tuned.choice.cell], max(each["adherence.0"] for each in scores)
    assert best > scores[0]["adherence.0"] + 0.3
    assert chosen["adherence.0"] >= 0.95 * best
    assert chosen["over_control"] < scores[-1]["over_control"]
    assert set(scores[0]) == {"adherence.0", "prompt", "over_control"}
