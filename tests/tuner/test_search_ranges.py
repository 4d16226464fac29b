"""A search's ranges and budget are read, or refused before sampling."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import read_tune_job
from lib_ctrlgen.tuner.search.space import parse_range
from tests.support.analytic_host import AnalyticHost
from tests.support.searches import RANGES, run, tuner


def test_ranges_are_read() -> None:
    between = parse_range("Unit 0 weight", " -0.5 - 1.5 ")
    assert (between.path, between.low, between.high) == ("units.0.weight", -0.5, 1.5)
    assert [between.at(x) for x in (-0.5, 0.123456, 1.0)] == [-0.5, 0.123, 1]
    assert isinstance(between.at(1.0), int)
    whole = parse_range("steps", "10-30 (+1)")
    assert (whole.at(20), whole.ordered, whole.number(17), whole.number(99)) == (30, True, 7, 10)
    assert not parse_range("sampler", "Euler, DDIM").ordered
    assert parse_range("units.0.weight", ["1@0 hold", "0.2-1.5"]).values == ("1@0 hold", "0.2-1.5")


@given(st.floats(-50, 50), st.floats(1e-3, 100), st.floats(0, 1))
def test_a_number_stays_inside_and_near(low: float, width: float, share: float) -> None:
    low, high = round(low, 4), round(low + width, 4)
    each = parse_range("cfg_scale", f"{low:.4f}-{high:.4f}")
    number = low + share * (high - low)
    assert low <= float(each.at(number)) <= high
    assert abs(float(each.at(number)) - number) <= 0.001 * (high - low) + 1e-8


@pytest.mark.parametrize(
    ("ranges", "path"),
    [
        ([{"path": "Unit 0 weight", "values": "1-0.5"}], "ranges[0].values"),
        ([{"path": "Unit 0 weight", "values": "1"}], "ranges[0].values"),
        ([RANGES[0], {"path": "Unit 7 weight", "values": "0-1"}], "ranges[1].path"),
        ([{"path": "Wieght of unit 0", "values": "0-1"}], "ranges[0].path"),
        ([{"path": "units.0.wieght", "values": "0-1"}], "ranges[0].values"),
        ([{"path": "steps", "values": "10-30"}], "ranges[0].values"),
        ([{"path": "steps", "values": "0-30 (+5)"}], "ranges[0].values"),
        ([{"path": "prompt.replace", "values": "b, c"}], "ranges[0].values"),
        ([{"path": "units.0.model+units.1.model", "values": "a+b, b+a"}], "ranges[0].path"),
        ([RANGES[0], {"path": "units.0.weight", "values": "0-1"}], "ranges[1].path"),
        ([], "ranges"),
    ],
)
def test_wrong_ranges_say_where_before_anything_runs(
    tmp_path: Path, ranges: list[dict[str, Any]], path: str
) -> None:
    host = AnalyticHost()
    with pytest.raises(RequestError) as caught:
        run(host, tmp_path / "out", ranges=ranges)
    assert caught.value.path.removeprefix("$.tune").removeprefix("$") == f".auto.{path}"
    assert (host.made, (tmp_path / "out").exists()) == (0, False)


def test_whole_numbers_are_asked_for_in_words(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"for whole numbers write 10-30 \(\+1\)"):
        run(AnalyticHost(), tmp_path, ranges=[{"path": "steps", "values": "10-30"}])


@pytest.mark.parametrize(
    ("tune", "path"),
    [
        ("{auto: {budget: 9, ranges: []}}", "$.tune.auto.ranges"),
        ("{auto: {budget: 0, ranges: [{path: cfg_scale, values: 1-2}]}}", "$.tune.auto.budget"),
        ("{auto: {budget: 9, early: 1, ranges: [{path: cfg_scale, values: 1-2}]}}", "$.tune.auto.early"),
        ("{auto: {budget: 9, rangs: []}}", "$.tune.auto.rangs"),
        ("{x: {path: steps, values: '1'}, auto: {budget: 9, ranges: [{path: cfg_scale, values: 1-2}]}}",
         "$.tune.x"),
        ("{seeds: 2}", "$.tune.x"),
    ],
)  # fmt: skip
def test_a_wrong_job_says_where(tmp_path: Path, tune: str, path: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"tune: {tune}", "utf-8")
    with pytest.raises(RequestError) as caught:
        read_tune_job(file)
    assert caught.value.path == path


def test_a_budget_has_room_for_one_candidate(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"takes up to 3\.4 pictures") as caught:
        run(AnalyticHost(), tmp_path, budget=3, seeds=3, early=0.4)
    assert caught.value.path == "$.tune.auto.budget"


def test_without_optuna_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lib_ctrlgen.tuner.search.study")
    monkeypatch.delattr("lib_ctrlgen.tuner.search.study", raising=False)
    with pytest.raises(RequestError, match=r"Optuna.* -m pip install optuna`$") as caught:
        tuner(AnalyticHost(), tmp_path)
    assert caught.value.path == "$.tune.auto"
