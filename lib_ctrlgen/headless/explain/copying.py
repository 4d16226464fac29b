"""`explain copying`: a unit's picture from ignored to copied, with the tuner's scores.

Adherence and likeness are measured as docs/tuner.md says; likeness is the cosine of CLIP embeddings (Radford
et al. 2021, Learning Transferable Visual Models From Natural Language Supervision).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.plots.chart import Axes, Series, line_chart
from lib_ctrlgen.plots.figure import Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.schedule import constant
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .lacking import require
from .pictures import picture_url, unit_picture

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = 4
SHOWN = 2  # seeds whose pictures are shown
SIDE = 113.0
SCORES = {
    "adherence.0": "adherence to the unit's map",
    "reference.0": "likeness to the unit's picture",
    "prompt": "likeness to the prompt",
}


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for a job's first unit alone. Raises RequestError unless it has a picture."""
    units = request.enabled_units
    require(bool(units) and bool(units[0][1].image), "copying", "$.units", "a unit with a picture")
    index, unit = units[0]
    shown = unit_picture(unit.image, f"$.units[{index}].image")
    spec = replace(unit, guidance_start=0.0, guidance_end=1.0)
    asked = replace(request, units=(spec,), batch_size=SEEDS)
    made = {weight: engine.generate(weighed(asked, weight)).images for weight in WEIGHTS}
    scores = measured(engine, asked, made)
    numbers = {"weights": list(WEIGHTS), **scores}
    return Explained(svg=drawn(request.prompt, shown, made, scores), numbers=rounded(numbers))


def weighed(request: GenerationRequest, weight: float) -> GenerationRequest:
    """The request with its only unit at this weight, or without it at 0."""
    units = tuple(replace(unit, weight=constant(weight)) for unit in request.units) if weight else ()
    return replace(request, units=units)


def measured(
    engine: Engine, request: GenerationRequest, made: Mapping[float, Sequence[Image.Image]]
) -> dict[str, list[float]]:
    """The scores of each weight, means over the seeds: of the unit's picture and of the prompt.

    What cannot be measured, as without a text projection beside the CLIP vision encoder, is left out.
    """
    host, found = EngineHost(engine=engine), {}
    rows = [
        [host.scores(each, None, replace(request, batch_size=1)).values for each in images]
        for images in made.values()
    ]
    for name, title in SCORES.items():
        if all(name in each for row in rows for each in row):
            found[title] = [sum(each[name] for each in row) / len(row) for row in rows]
    return found


def drawn(
    prompt: str,
    shown: Image.Image,
    made: Mapping[float, Sequence[Image.Image]],
    scores: dict[str, list[float]],
) -> str:
    """The figure: pictures by weight, and the scores."""
    rows = []
    for seed in range(SHOWN):
        first = Tile(url=picture_url(shown), caption="its picture") if seed == 0 else Tile(url="")
        texts = [f"weight {weight:g}" if seed == SHOWN - 1 else "" for weight in made]
        images = [each[seed] for each in made.values()]
        pairs = zip(images, texts, strict=True)
        rows.append(("", [first, *(Tile(url=picture_url(image), caption=text) for image, text in pairs)]))
    lines = [
        Series(name=name, points=list(zip(WEIGHTS, values, strict=True))) for name, values in scores.items()
    ]
    blocks = [heading(f'From ignored to copied: "{prompt}" and a unit with a picture'), tile_rows(rows, SIDE)]
    if lines:
        axes = Axes(
            x="weight of the unit", y="score", width=520, height=190, low=min(0.0, least(scores)), high=1
        )
        blocks += [heading(f"The tuner's scores, means of {SEEDS} seeds"), line_chart(axes, lines)]
    else:
        blocks.append(note("No score could be measured: see docs/tuner.md for what each of them needs."))
    return card("a picture from ignored to copied", blocks)


def least(scores: Mapping[str, Sequence[float]]) -> float:
    """The smallest score."""
    return min(value for values in scores.values() for value in values)
