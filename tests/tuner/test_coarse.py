"""A grid from coarse to fine: which cells are made in full, what a later run makes, what the report says."""

import json
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.tuner.cells import TuneSpec
from lib_ctrlgen.tuner.coarse import UNFINISHED, UNSCORED, promising
from lib_ctrlgen.tuner.progress import Progress, TunerResult
from tests.support.analytic_host import AnalyticHost
from tests.support.tuner_grids import contents
from tests.support.tuner_reports import report_in, tuner_of

SHARE = 0.4  # of 20 steps


def coarse(out: Path, host: AnalyticHost, **tune: Any) -> TunerResult:
    return report_in(out, host, coarse=SHARE, **tune)


def test_the_better_half_is_made_in_full(tmp_path: Path) -> None:
    host = AnalyticHost()
    tuned = coarse(tmp_path / "coarse", host)
    assert (host.steps.count(8), host.steps.count(20)) == (6, 3 * 2)
    whole = report_in(tmp_path / "whole")
    ranked = promising([each.means for each in whole.done], 3)
    full = [number for number, each in enumerate(tuned.done) if not each.stopped]
    assert full == sorted(ranked)
    assert tuned.recommended == whole.recommended
    assert all(tuned.done[number].means == whole.done[number].means for number in full)
    cells = json.loads((tmp_path / "coarse/cells.json").read_text("utf-8"))["cells"]
    assert [cell.get("stopped") == "early" for cell in cells] == [each.stopped for each in tuned.done]
    assert [len(cell["files"]) for cell in cells] == [1 if each.stopped else 2 for each in tuned.done]
    assert "with 40% of their steps and one seed" in tuned.report.read_text("utf-8")


def test_a_run_that_was_interrupted_goes_on_and_ends_in_the_same_files(tmp_path: Path) -> None:
    whole = coarse(tmp_path / "whole", AnalyticHost())
    for stop in (3, 7, 9):
        host = AnalyticHost()
        host.stops_after = stop
        with pytest.raises(KeyboardInterrupt):
            coarse(tmp_path / str(stop), host)
        said = (tmp_path / str(stop) / "report.html").read_text("utf-8")
        assert (UNFINISHED in said) == (stop < 6)
        host.stops_after = None
        assert coarse(tmp_path / str(stop), host).done == whole.done
        assert contents(tmp_path / str(stop)) == contents(tmp_path / "whole")
    host = AnalyticHost()
    assert coarse(tmp_path / "whole", host).made == host.made == 0


def test_progress_rises_to_all_cells(tmp_path: Path) -> None:
    told: list[Progress] = []
    tuner_of(tmp_path, AnalyticHost(), coarse=SHARE).run(told.append)
    done = [each.done for each in told]
    assert done == sorted(done)
    assert (done[0], done[-1], told[-1].total) == (0, 6, 6)
    assert [len(each.cells) for each in told[:7]] == list(range(7))
    assert all(each.stopped for each in told[6].cells)


def test_without_a_score_every_cell_is_made_in_full(tmp_path: Path) -> None:
    host = AnalyticHost()
    host.lacks = ("adherence.0", "over_control")
    tuned = coarse(tmp_path, host)
    assert not any(each.stopped for each in tuned.done)
    assert UNSCORED in tuned.report.read_text("utf-8")


def test_a_cell_that_fails_is_not_promising(tmp_path: Path) -> None:
    host = AnalyticHost()
    host.fails = (1.0,)
    tuned = coarse(tmp_path, host)
    assert [bool(each.error) for each in tuned.done] == [False, True, False] * 2
    assert sum(not each.stopped and not each.error for each in tuned.done) == 3


def test_promising_cells_are_near_the_best_first_and_then_the_next() -> None:
    scored = [
        {"adherence.0": value, "over_control": cost} for value, cost in ((0.5, 0.1), (0.99, 0.3), (1, 0.6))
    ]
    assert promising(scored, 1) == [1]
    assert promising([*scored, {}], 3) == [1, 2, 0]
    assert promising([{}, {}], 1) == []


def test_a_search_is_not_made_from_coarse_to_fine() -> None:
    auto = {"budget": 4, "ranges": [{"path": "CFG", "values": "3-9"}]}
    with pytest.raises(RequestError, match=r"auto\.early") as caught:
        parse_request({"auto": auto, "coarse": 0.5}, TuneSpec)
    assert caught.value.path.endswith("coarse")
