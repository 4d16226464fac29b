"""What the tuner records of a cell beside its scores: warnings, failed parts, the encoder for likeness."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.notices import warnings_in
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring.clip_likeness import PROJECTION, chosen_encoder
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.tuner_grids import cells_of

UNITS = [
    {"model": f"{models.NAME}-edges", "image": files.drawn_url(), "preprocessor": "canny"},
    {"model": f"{models.NAME}-ip", "image": files.data_url(seed=2)},
]
PAYLOAD: dict[str, Any] = {
    "prompt": "a star", "width": 64, "height": 64, "steps": 1, "sampler": "Euler", "units": UNITS,
}  # fmt: skip
OFF = "$.units[0].weight: the weight is 0: the unit does nothing"


def run(engine: Engine, out: Path, *, encoder: str = "") -> TunerResult:
    spec = parse_request({"x": {"path": "Unit 0 weight", "values": "0, 1, 0.5"}}, TuneSpec)
    host = EngineHost(engine=engine, encoder_name=encoder)
    return Tuner(host, grid_of(PAYLOAD, spec, GenerationRequest), out).run(lambda _progress: None)


def told(out: Path) -> list[list[str]]:
    """The warnings of each cell, which all results agree on."""
    rows = list(csv.DictReader((out / "cells.csv").read_text("utf-8").splitlines()))
    found = [list(cell["warnings"]) for cell in json.loads((out / "cells.json").read_text("utf-8"))["cells"]]
    assert [row["warnings"] for row in rows] == [" | ".join(each) for each in found]
    assert [cell["warnings"] for cell in cells_of((out / "report.html").read_text("utf-8"))] == found
    return found


def test_a_cells_warnings_are_told_and_stay(engine: Engine, tmp_path: Path) -> None:
    tuned = run(engine, tmp_path)
    assert told(tmp_path) == [[OFF], [], []]
    assert tuned.warnings == (f"1 of 3 cells have warnings: {OFF} (1 of 3)",)
    page = re.sub(r"<script>.*?</script>", "", tuned.report.read_text("utf-8"), flags=re.DOTALL)
    assert page.count(OFF) == 2  # in the summary and in the cell's data
    assert run(engine, tmp_path).made == 0
    assert told(tmp_path) == [[OFF], [], []]
    for note in (tmp_path / "cells").glob("*.json"):  # as with scores of an earlier version
        note.write_text(json.dumps(json.loads(note.read_text("utf-8")) | {"scores_version": 1}))
    assert run(engine, tmp_path).made == 0
    assert told(tmp_path) == [[OFF], [], []]


def test_a_part_that_failed_has_an_exit_code_of_its_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    together = Engine.together

    def sick(self: Engine, requests: Sequence[GenerationRequest], progress: Any = None) -> Any:
        if any(request.units and request.units[0].weight.constant == 1 for request in requests):
            raise RuntimeError("the model is sick")
        return together(self, requests, progress)

    job = tmp_path / "job.json"
    tune = {"x": {"path": "Unit 0 weight", "values": "0.5, 1"}}
    job.write_text(json.dumps({**PAYLOAD, "tune": tune}))
    command = ["tune", str(job), "--models", str(root), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(Engine, "together", sick)
    assert main(command) == 3
    assert "1 of 2 cells failed, the first: the model is sick" in capsys.readouterr().err
    monkeypatch.setattr(Engine, "together", together)
    assert main(command) == 0


def test_one_encoder_measures_and_is_named(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(root, folder)
    vision = folder / "clip_vision"
    first, own = vision / "a-first", vision / f"{models.NAME}-vision"
    shutil.copytree(own, first)
    engine = Engine([folder], 1 << 28)
    assert chosen_encoder(engine.store) == chosen_encoder(engine.store, "a-first")
    (own / PROJECTION).write_bytes(b"")  # it is only looked for
    label = run_labels(engine, tmp_path / "out", encoder="a-first")
    assert label.startswith("clip_vision/a-first [")
    chosen = chosen_encoder(engine.store)
    assert chosen is not None
    assert chosen.path == own


def run_labels(engine: Engine, out: Path, encoder: str) -> str:
    """The encoder that a run's results and its report name."""
    tuned = run(engine, out, encoder=encoder)
    (label,) = json.loads((out / "cells.json").read_text("utf-8"))["encoders"]
    assert f"encoder <b>{label}</b>" in tuned.report.read_text("utf-8")
    return str(label)


def test_another_encoder_measures_what_is_there_again(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(root, folder)
    own = folder / f"clip_vision/{models.NAME}-vision"
    files.save_vision(folder / "clip_vision/other", hidden=32, projection=24)
    engine, out = Engine([folder], 1 << 28), tmp_path / "out"
    scores = {}
    for name in ("other", own.name, ""):
        label = run_labels(engine, out, name)
        assert (name or own.name) in label
        scores[name] = [
            cell["scores"] for cell in json.loads((out / "cells.json").read_text("utf-8"))["cells"]
        ]
    assert scores["other"] != scores[own.name] == scores[""]
    with pytest.raises(RequestError, match=r"^\$\.tune\.encoder: no image encoder named 'missing'"):
        run(engine, out, encoder="missing")


def test_a_hosts_warnings_belong_to_their_pictures() -> None:
    said = ["a | b", None, "b | c", "b"]
    assert [warnings_in(said, range(k, k + 2)) for k in (0, 2)] == [("a", "b"), ("b", "c")]
    assert warnings_in("a | b", range(2, 4)) == ("a", "b")
    assert warnings_in(None, range(2)) == ()
