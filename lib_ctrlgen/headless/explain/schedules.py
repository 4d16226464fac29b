"""`explain schedules`: one unit with several weights over time, and the pictures that they make."""

from __future__ import annotations

from msgspec.structs import replace

from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.engine import control_maps as maps_of
from lib_ctrlgen.plots.chart import Axes, Series, line_chart
from lib_ctrlgen.plots.figure import Block, Tile, below, beside, card, heading, tile_rows
from lib_ctrlgen.request.plan import StepPlan
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .lacking import require
from .pictures import picture_url, unit_picture
from .work import prepared

WEIGHTS = ("1", "0.45", "1>0", "0>1", "1@0 hold, 0@0.35")
SIDE, GAP, CURVE = 113.0, 10.0, 131.0


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for a job's first unit, whose weight is replaced. Raises RequestError without a unit."""
    units = request.enabled_units
    require(bool(units), "schedules", "$.units", "a unit")
    shown = source(engine, request)
    free = engine.generate(replace(request, units=tuple(unit for _, unit in units[1:]), batch_size=1))
    made = {text: generated(engine, request, text) for text in WEIGHTS}
    first = below(
        [shown, tile_rows([("", [Tile(url=picture_url(free.images[0]), caption="without it")])], SIDE)]
    )
    columns = [first, *(column(text, each) for text, each in made.items())]
    weights = {text: list(each.plan.weights[0]) for text, each in made.items()}
    numbers = {
        "weights": weights,
        "network_calls": {text: sum(value != 0 for value in row) for text, row in weights.items()},
    }
    words = f'"{request.prompt}" with one unit, whose weight over the steps differs'
    return Explained(
        svg=card("weights over the steps", [heading(words), beside(columns, GAP)]), numbers=rounded(numbers)
    )


def source(engine: Engine, request: GenerationRequest) -> Block:
    """The control map of a job's first unit, else its picture, as a block of the curves' height."""
    index, unit = request.enabled_units[0]
    with prepared(engine, request) as work:
        own = [each for each in work.units if each.index == index]
        maps = maps_of(own, request.width, request.height)
    url, caption = "", ""
    if maps:
        url, caption = picture_url(maps[0].image), "the unit's map"
    elif unit.image:
        url, caption = picture_url(unit_picture(unit.image, f"$.units[{index}].image")), "its picture"
    tiles = tile_rows([("", [Tile(url=url, caption=caption)])], SIDE)
    return Block(width=SIDE, height=CURVE, content=tiles.content)


def generated(engine: Engine, request: GenerationRequest, weight: str) -> Generation:
    """The job's first picture with another weight of its first unit, which acts in the whole of the steps."""
    first, *others = (unit for _, unit in request.enabled_units)
    changed = replace(first, weight=parse_schedule(weight), guidance_start=0.0, guidance_end=1.0)
    return engine.generate(replace(request, units=(changed, *others), batch_size=1))


def column(text: str, made: Generation) -> Block:
    """A weight as a curve, and the picture that it makes."""
    return below(
        [curve(made.plan), tile_rows([("", [Tile(url=picture_url(made.images[0]), caption=text)])], SIDE)]
    )


def curve(plan: StepPlan) -> Block:
    """The weight of the first unit at each step, as steps."""
    points = [(float(at), value) for step, value in enumerate(plan.weights[0]) for at in (step, step + 1)]
    axes = Axes(x="step", y="weight", width=SIDE, height=CURVE, low=0, high=1)
    return line_chart(axes, [Series(name="", points=points)], legend=False)
