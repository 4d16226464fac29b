"""`explain stacking`: the sum of two ControlNets' residuals, and where they agree or fight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.controls.protocols import ResidualControl
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.plots.chart import Axes, Series, line_chart
from lib_ctrlgen.plots.figure import Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.unet.residuals import Residuals

from .figures import Explained, rounded
from .lacking import require
from .pictures import picture_url, signed_url
from .residuals import one_per_size, shown_call
from .unit_residuals import UnitResiduals, cosine, cosine_map, rms
from .work import observed, prepared

Pair: TypeAlias = tuple[int, int]
MOST = 3  # units that are compared
SIDE, LABEL = 112.0, 124.0


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for a job's first two or three units that add residuals. Raises RequestError for fewer."""
    with prepared(engine, request) as work:
        places = [k for k, unit in enumerate(work.units) if isinstance(unit.control, ResidualControl)][:MOST]
        require(len(places) > 1, "stacking", "$.units", "two units with ControlNets")
        calls = UnitResiduals()
        observed(work, calls)
        number = shown_call(calls, places[0])
        found = {k: calls.cond(number, k) for k in places}
        labels = {k: f"unit {work.units[k].index}, {work.units[k].spec.label}" for k in places}
    acting = {k: each for k, each in found.items() if each is not None}
    require(len(acting) > 1, "stacking", "$.units", f"two units that act in U-Net call {number}")
    pairs = list(combinations(acting, 2))
    alone = {k: picture(engine, request, [k]) for k in acting}
    both = {pair: picture(engine, request, pair) for pair in pairs}
    numbers = {
        "call": number,
        "units": list(labels.values()),
        "cosine": {f"{a}+{b}": cosines(acting[a], acting[b]) for a, b in pairs},
        "sum_against_parts": {f"{a}+{b}": kept(acting[a], acting[b]) for a, b in pairs},
    }
    return Explained(svg=drawn(acting, pairs, (alone, both), labels, number), numbers=rounded(numbers))


def picture(engine: Engine, request: GenerationRequest, places: Sequence[int]) -> Image.Image:
    """The job's first picture with these units alone."""
    units = [unit for _, unit in request.enabled_units]
    kept_units = tuple(units[place] for place in places)
    return engine.generate(replace(request, units=kept_units, batch_size=1)).images[0]


def cosines(one: Residuals, other: Residuals) -> list[float]:
    """The cosine between two units' residuals at each layer, -1..1."""
    return [cosine(*pair) for pair in zip(one.layers, other.layers, strict=True)]


def kept(one: Residuals, other: Residuals) -> list[float]:
    """The size of the sum relative to the sum of the sizes, at each layer: 1 if both point the same way."""
    return [rms(a + b) / ((rms(a) + rms(b)) or 1.0) for a, b in zip(one.layers, other.layers, strict=True)]


def drawn(
    found: dict[int, Residuals],
    pairs: Sequence[Pair],
    pictures: tuple[dict[int, Image.Image], dict[Pair, Image.Image]],
    labels: dict[int, str],
    number: int,
) -> str:
    """The figure: a row for each pair of units, then the cosines by layer."""
    rows = [(f"{labels[a]}\nand {labels[b]}", pair_tiles((a, b), found, *pictures)) for a, b in pairs]
    lines = [
        Series(name=f"units {a} and {b}", points=list(enumerate(cosines(found[a], found[b]))))
        for a, b in pairs
    ]
    axes = Axes(x="layer (the last one is the mid block)", y="cosine", width=560, height=190, low=-1, high=1)
    return card(
        "two controls in one picture",
        [
            heading("Each unit alone, both together, and where their residuals agree or fight"),
            tile_rows(rows, SIDE, LABEL),
            note(
                "blue: the residuals of both units point the same way at this place, red: against each other "
                f"(cosine over the channels, U-Net call {number}; the two finest sizes)"
            ),
            heading("Cosine of both units' residuals by layer: 1 is the same direction, -1 the opposite one"),
            line_chart(axes, lines),
        ],
    )


def pair_tiles(
    pair: Pair, found: dict[int, Residuals], alone: dict[int, Image.Image], both: dict[Pair, Image.Image]
) -> list[Tile]:
    """Two pictures alone, one with both units, and the cosines at the two finest sizes as maps."""
    sizes = list(zip(one_per_size(found[pair[0]]), one_per_size(found[pair[1]]), strict=True))
    shown = sizes[:2]
    maps = [
        Tile(url=signed_url(cosine_map(a, b), 1.0), caption=f"at {a.shape[-1]} x {a.shape[-2]}", sharp=True)
        for a, b in shown
    ]
    pictures = [Tile(url=picture_url(alone[k]), caption=f"unit {k} alone") for k in pair]
    return [*pictures, Tile(url=picture_url(both[pair]), caption="both"), *maps]
