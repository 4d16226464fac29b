"""`explain residuals`: how much a ControlNet adds at each layer and step, and where.

Zhang, Rao and Agrawala 2023, Adding Conditional Control to Text-to-Image Diffusion Models, section 3: the
outputs of a copy of the encoder are added to the skip connections and the mid block.
"""

from __future__ import annotations

from torch import Tensor

from lib_ctrlgen.controls.protocols import ResidualControl
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.engine import control_maps as maps_of
from lib_ctrlgen.plots.chart import heat_table
from lib_ctrlgen.plots.figure import Block, Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.unet.residuals import Residuals

from .figures import Explained, rounded
from .lacking import require
from .pictures import heat_url, picture_url
from .unit_residuals import UnitResiduals, layer_names, strip
from .work import Work, observed, prepared

SIDE = 113.0
SHOWN = 3 / 20  # progress of the call whose residuals are drawn


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for a job's first unit that adds residuals. Raises RequestError without one."""
    with prepared(engine, request) as work:
        places = [k for k, unit in enumerate(work.units) if isinstance(unit.control, ResidualControl)]
        require(bool(places), "residuals", "$.units", "a unit with a ControlNet")
        place, calls = places[0], UnitResiduals()
        final = work.decoded(observed(work, calls)[:1])[0]
        names = layer_names(calls.effect.shape.residual_strides)
        shares = relative(calls, place, len(names))
        number = shown_call(calls, place)
        found = calls.cond(number, place)
        tiles = [Tile(url=picture_url(final), caption="the picture"), *level_tiles(work, found, place)]
    numbers = {"layers": names, "share": shares, "shown_call": number, "mean_by_layer": means(shares)}
    return Explained(svg=drawn(tiles, shares, names, number), numbers=rounded(numbers))


def relative(calls: UnitResiduals, place: int, layers: int) -> list[list[float]]:
    """For each layer and call the size of a unit's residual relative to what it is added to."""
    rows = [
        [
            added / skip if skip else 0.0
            for added, skip in zip(strip(calls.cond(k, place), layers), skips, strict=True)
        ]
        for k, skips in enumerate(calls.skips)
    ]
    return [list(layer) for layer in zip(*rows, strict=True)]


def means(shares: list[list[float]]) -> list[float]:
    """The mean of each layer over the calls."""
    return [sum(row) / len(row) for row in shares]


def shown_call(calls: UnitResiduals, place: int) -> int:
    """An early call in which the unit acts; the first in which it does where it begins later."""
    acting = [k for k, added in enumerate(calls.added) if place in added]
    wanted = SHOWN * len(calls.added)
    return min(acting, key=lambda k: abs(k - wanted), default=0)


def level_tiles(work: Work, found: Residuals | None, place: int) -> list[Tile]:
    """The control map of a unit, and of each size of residuals the mean size over the channels as a map."""
    request = work.request
    maps = maps_of(work.units[place : place + 1], request.width, request.height)
    tiles = [Tile(url=picture_url(each.image), caption="control map") for each in maps]
    for layer in [] if found is None else one_per_size(found):
        size = f"{layer.shape[-1]} x {layer.shape[-2]}"
        tiles.append(Tile(url=heat_url(layer[0].float().abs().mean(0)), caption=size, sharp=True))
    return tiles


def one_per_size(found: Residuals) -> list[Tensor]:
    """The last skip's residual of each size, from fine to coarse."""
    return list({tuple(layer.shape[-2:]): layer for layer in found.down}.values())


def drawn(tiles: list[Tile], shares: list[list[float]], names: list[str], number: int) -> str:
    """The figure."""
    table: Block = heat_table(shares, names, "U-Net call", width=620)
    return card(
        "the residuals of a ControlNet",
        [
            heading(f"Where a ControlNet adds most in call {number}, at each size of the U-Net's layers"),
            tile_rows([("", tiles)], SIDE),
            note("dark: large residuals (mean over the channels); each map has its own scale"),
            heading("How large the residual is, relative to the skip connection that it is added to"),
            table,
            note(
                "rows: the encoder's outputs in order with their size (1/1: the latent's), then the mid block"
            ),
        ],
    )
