"""`explain blends`: the modes of a blend side by side, with the same concepts and seeds (docs/blend.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.plots.figure import Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.schedule import Schedule, constant, parse_schedule
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .lacking import require
from .latents import error
from .pictures import picture_url

SEEDS = 3
MODES = ("prediction", "perpendicular", "saliency", "embedding")
SIDE = 96.0


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for the first two concepts of a job's blend. Raises RequestError without a blend."""
    blend = request.blend
    require(blend is not None and len(blend.concepts) > 1, "blends", "$.blend", "a blend of two concepts")
    assert blend is not None
    ways = shown(blend)
    asked = replace(request, batch_size=SEEDS)
    made = {name: engine.generate(replace(asked, blend=each)).images for name, each in ways.items()}
    rows = [
        (
            "",
            [
                Tile(url=picture_url(images[k]), caption=name if k == SEEDS - 1 else "")
                for name, images in made.items()
            ],
        )
        for k in range(SEEDS)
    ]
    names = [each.prompt for each in blend.concepts[:2]]
    blocks = [
        heading(f'A: "{names[0]}", B: "{names[1]}"'),
        tile_rows(rows, SIDE),
        note("Rows are seeds. A > B: the weight of A falls from 1 to 0 over the steps, and that of B rises."),
    ]
    numbers = {"concepts": names, "away_from_a": away(made, "A"), "away_from_b": away(made, "B")}
    return Explained(svg=card("modes of a blend", blocks), numbers=rounded(numbers))


def shown(blend: Blend) -> dict[str, Blend]:
    """The blends that are compared: each concept alone, four modes with equal weights, and a change."""
    whole, nothing = constant(1), constant(0)
    found = {"A": weighed(blend, "prediction", whole, nothing)}
    found["B"] = weighed(blend, "prediction", nothing, whole)
    for mode in MODES:
        found[mode] = weighed(blend, mode, whole, whole)
    found["A > B"] = weighed(blend, "prediction", parse_schedule("1>0"), parse_schedule("0>1"))
    return found


def weighed(blend: Blend, mode: str, first: Schedule, last: Schedule) -> Blend:
    """The blend's first two concepts in a mode, with these weights; masks stay."""
    pairs = zip(blend.concepts, (first, last), strict=False)
    concepts = tuple(replace(each, weight=weight, hires=None) for each, weight in pairs)
    return replace(blend, mode=mode, concepts=concepts, normalise=mode in ("prediction", "embedding"))


def away(made: Mapping[str, Sequence[Image.Image]], name: str) -> dict[str, float]:
    """The mean difference, 0..1, of each way's pictures from those of a concept alone."""
    return {
        other: sum(error(a, b) for a, b in zip(made[name], images, strict=True)) / len(images)
        for other, images in made.items()
    }
