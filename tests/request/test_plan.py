"""The step plan as numbers, as text and as a plot."""

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.plots.plan_view import plan_svg, plan_table
from lib_ctrlgen.request.plan import StepPlan, compile_plan
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.spec import ControlUnit

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def units(draw: st.DrawFn) -> ControlUnit:
    start, end = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    weight = draw(
        st.sampled_from(["1", "0", "1>0", "0@0.2, 1@0.5 hold, -0.5@0.9", "0.5 * 1>0.1 in 0.2..0.8"])
    )
    model = draw(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12))
    return ControlUnit(model=model, weight=parse_schedule(weight), guidance_start=start, guidance_end=end)


def compiled(found: list[ControlUnit], steps: int) -> StepPlan:
    return compile_plan(list(enumerate(found)), steps)


@given(st.lists(units(), max_size=4), st.integers(1, 60))
def test_the_plan_is_the_sampled_schedules(found: list[ControlUnit], steps: int) -> None:
    plan = compiled(found, steps)
    for step in range(steps):
        weights = [unit.schedule(step / steps) for unit in found]
        assert [row[step] for row in plan.weights] == weights


@given(st.integers(1, 200), st.integers(0, 100), st.integers(0, 100))
def test_a_window_takes_the_steps_that_begin_in_it(steps: int, a: int, b: int) -> None:
    start, end = sorted((a, b))
    unit = ControlUnit(model="edges", guidance_start=start / 100, guidance_end=end / 100)
    plan = compiled([unit], steps)
    first, last = -(-start * steps // 100), -(-end * steps // 100)  # rounded up
    assert [weight != 0 for weight in plan.weights[0]] == [first <= i < last for i in range(steps)]


@given(st.lists(units(), max_size=4), st.integers(1, 60))
def test_the_table_tells_the_calls_and_the_weights(found: list[ControlUnit], steps: int) -> None:
    plan = compiled(found, steps)
    _, *rows = plan_table(plan).split("\n")
    assert len(rows) == len(found)
    for row, label, weights in zip(rows, plan.labels, plan.weights, strict=True):
        name, rest = row[: len(label)], row[max(map(len, plan.labels)) + 2 :]
        bars, figures = rest[:steps], rest[steps:].split(maxsplit=1)
        assert name == label
        assert [bar != " " for bar in bars] == [weight != 0 for weight in weights]
        assert int(figures[0]) == sum(weight != 0 for weight in weights)
        runs = [run.partition(" x") for run in figures[1].split(", ")]
        told = [float(value) for value, _, count in runs for _ in range(int(count or 1))]
        assert told == pytest.approx(list(weights), rel=1e-3)


@given(st.lists(units(), max_size=4), st.integers(1, 60))
def test_the_plot_shows_every_step_inside_its_frame(found: list[ControlUnit], steps: int) -> None:
    plan = compiled(found, steps)
    root = ET.fromstring(plan_svg(plan, width=300, height=100))
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == len(found)
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) == 2 * steps
        assert all(0 <= x <= 300 and 0 <= y <= 100 for x, y in points)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert set(plan.labels) <= set(texts)


def test_a_plan_reads_like_this() -> None:
    units = [
        ControlUnit(model="edges", weight=parse_schedule("1@0, 0.5@0.5 hold")),
        ControlUnit(model="depth", guidance_end=0.5),
    ]
    assert plan_table(compiled(units, 8)).split("\n") == [
        "unit     steps 0-7  calls  weights",
        "0 edges  █▇▆▅▄▄▄▄      8  1, 0.875, 0.75, 0.625, 0.5 x4",
        "1 depth  ████          4  1 x4, 0 x4",
    ]


@pytest.mark.parametrize("steps", [0, -3])
def test_a_plan_needs_steps(steps: int) -> None:
    with pytest.raises(RequestError, match=r"^\$\.steps: must be at least 1"):
        compile_plan([], steps)


def test_extreme_weights_are_plotted() -> None:
    plan = compiled([ControlUnit(model="m", weight=parse_schedule("-1e6>1e6"))], 3)
    assert not any(math.isnan(float(part)) for part in _numbers(plan_svg(plan)))


def _numbers(svg: str) -> list[str]:
    (line,) = ET.fromstring(svg).findall(f"{SVG}polyline")
    return line.attrib["points"].replace(",", " ").split()
