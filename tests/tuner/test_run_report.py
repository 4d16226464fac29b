"""A grid's report: cells to copy, warnings, and errors found before sampling."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner
from tests.support import headless_models as models
from tests.support.tuner_grids import PAYLOAD, UNITS, Counting, X, cells_of, run


def test_a_copied_cell_is_a_job_that_runs(engine: Counting, root: Path, tmp_path: Path) -> None:
    tuned = run(engine, tmp_path)
    assert tuned.choice is not None
    cell = tuned.done[tuned.choice.cell]
    file = tmp_path / "pasted.yaml"
    copied = cells_of(tuned.report.read_text("utf-8"))[tuned.choice.cell]["recipe"]
    assert (tmp_path / "recommended.yaml").read_text("utf-8") == copied
    file.write_text(copied, "utf-8")
    made = engine.generate(read_job(file).request)
    for name, image in zip(cell.files, made.images, strict=True):
        pair = Image.open(tmp_path / name).convert("RGB"), image
        assert max(high for _, high in ImageChops.difference(*pair).getextrema()) <= 1


def test_the_report_says_what_a_stranger_asks(engine: Counting, tmp_path: Path) -> None:
    tuned = run(engine, tmp_path)
    page = tuned.report.read_text("utf-8")
    assert f"Recommended: {tuned.recommended}." in page
    assert re.fullmatch(r"Unit 0 weight = [01], Unit 1 weight = [01]\.5", tuned.recommended)
    shown = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    for words in (
        "a red star",
        "64 x 64",
        "DDIM",
        "varies: 0, 1",
        "varies: 0.5, 1.5",
        "less is better",
        "canny",
    ):
        assert words in shown, words
    assert shown.count("<svg") == len(tuned.done[0].means) == shown.count("dark is good")
    for name in ("Unit 0 weight", "Unit 1 weight"):
        assert all(name in svg for svg in re.findall(r"<svg.*?</svg>", shown, flags=re.DOTALL))
    cells = cells_of(page)
    assert [len(cell["files"]) for cell in cells] == [2] * 4
    (choices,) = re.findall(r'<select id="seed">(.*?)</select>', shown)
    assert re.findall(r'<option value="(-?\d)">([^<]*)', choices) == [
        ("0", "seed 0"),
        ("1", "seed 1"),
        ("-1", "all seeds"),
    ]
    assert "units.0" not in "".join(tuned.warnings)


def test_a_preprocessors_own_parameter_is_warned_of(engine: Counting, tmp_path: Path) -> None:
    axis = {"path": "units.0.params.high_threshold", "values": "200, 255"}
    tuned = run(engine, tmp_path, x=axis, y=None, seeds=1)
    (warning,) = tuned.warnings
    assert axis["path"] in warning
    assert warning.partition("'")[0] in tuned.report.read_text("utf-8")
    assert json.loads((tmp_path / "cells.json").read_text("utf-8"))["warnings"] == [warning]


def test_a_blank_map_is_never_recommended(engine: Counting, tmp_path: Path) -> None:
    faint = Image.new("RGB", (64, 64), (90, 90, 90))
    faint.paste((110, 110, 110), (16, 16, 48, 48))
    units = [UNITS[0] | {"image": encode_image(faint)}]
    axis = {"path": "units.0.params.low_threshold+units.0.params.high_threshold", "values": "10+20, 250+255"}
    spec = parse_request({"x": axis}, TuneSpec)
    grid = grid_of(PAYLOAD | {"units": units}, spec, GenerationRequest)
    tuned = Tuner(EngineHost(engine=engine), grid, tmp_path).run(lambda _progress: None)
    assert ["adherence.0" in each.means for each in tuned.done] == [True, False]
    assert "blank" in tuned.done[1].reasons["adherence.0"]
    assert tuned.choice is None or tuned.choice.cell == 0


@pytest.mark.parametrize(
    ("axis", "path"),
    [
        ({"path": "Unit 0 model", "values": f"{models.NAME}-edges, nothing-like-it"}, "$.tune.x.values[1]"),
        ({"path": "Unit 0 preprocessor", "values": "cany, canny"}, "$.tune.x.values[0]"),
        ({"path": "units.0.params.low_threshold", "values": "50, 300"}, "$.tune.x.values[1]"),
        ({"path": "units.0.params.treshold", "values": "50"}, "$.tune.x.values[0]"),
        ({"path": "Sampler", "values": "Euler, Oiler"}, "$.tune.x.values[1]"),
        ({"path": "Checkpoint", "values": "no-such-model"}, "$.tune.x.values[0]"),
        ({"path": "prompt.replace", "values": "red, (red:1@0,)"}, "$.tune.x.values[1]"),
    ],
)
@pytest.mark.parametrize("search", [False, True])
def test_wrong_values_are_found_before_anything_runs(
    engine: Counting, tmp_path: Path, axis: dict[str, str], path: str, search: bool
) -> None:
    def found() -> None:
        if not search:
            run(engine, tmp_path / "out", x=axis)
        values = axis if "," in axis["values"] else axis | {"values": f"{axis['values']}, other"}
        spec = parse_request({"auto": {"budget": 9, "ranges": [values]}}, TuneSpec)
        auto_tuner(EngineHost(engine=engine), PAYLOAD, spec, GenerationRequest, tmp_path / "out")

    with pytest.raises(RequestError) as caught:
        found()
    assert caught.value.path == ("$.tune.auto.ranges[0].values" if search else path)
    assert (engine.made, (tmp_path / "out").exists()) == (0, False)


def test_what_no_axis_brought_is_told_at_its_own_place(engine: Counting, tmp_path: Path) -> None:
    payload = PAYLOAD | {"units": [UNITS[0], UNITS[1] | {"image": "AAAA"}]}
    grid = grid_of(payload, parse_request({"x": X}, TuneSpec), GenerationRequest)
    with pytest.raises(RequestError) as caught:
        Tuner(EngineHost(engine=engine), grid, tmp_path)
    assert caught.value.path == "$.units[1].image"
