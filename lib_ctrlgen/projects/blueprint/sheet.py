"""One sheet of a run: its cleaned drawing, and the units and the request of its rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.projects.control_models import Controls
from lib_ctrlgen.projects.sources import Source, read_source

from .cleaning import CleanDrawing, Mask, cleaned
from .maps import MAPS, lines_at, map_picture
from .regions import Kind, kind_of
from .settings import BlueprintSettings, sheet_size

LEAST_LINES = 0.0008  # the share of a sheet that lines cover at least
MOST_LINES = 0.45


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A cleaned drawing at the size of its rendering.

    lines  the drawing's lines, one pixel wide, [H, W] of the rendering
    """

    source: Source
    original: Image.Image
    drawing: CleanDrawing
    kind: Kind
    size: tuple[int, int]
    lines: Mask

    def map_picture(self, kind: str) -> Image.Image:
        """The unit's picture for a kind of control."""
        return map_picture(kind, self.drawing, self.lines)


def read_sheet(source: Source, settings: BlueprintSettings, controls: Controls) -> Sheet:
    """Read and clean a source. Raises RequestError for a picture without lines, or full of them."""
    original = read_source(source)
    drawing = cleaned(original)
    if not LEAST_LINES <= drawing.share <= MOST_LINES:
        found = "no lines" if drawing.share < LEAST_LINES else f"lines on {drawing.share:.0%} of the sheet"
        message = f"{found} were found: is it a drawing with dark lines on light paper, or light on dark?"
        raise RequestError(str(source.path), message)
    size = sheet_size(drawing.picture.size, settings.size, controls.size)
    lines = lines_at(drawing.lines, size)
    kind = kind_of(drawing.lines)
    original.thumbnail(drawing.picture.size, Image.Resampling.LANCZOS)
    return Sheet(source=source, original=original, drawing=drawing, kind=kind, size=size, lines=lines)


def control_units(
    kinds: Sequence[str], controls: Controls, weight: float, named: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The units of these kinds; `named` has the picture of each, as a file name or a data URL."""
    units = []
    for kind in kinds:
        file = controls.file(kind)
        assert file is not None  # `require_kinds` checked it
        unit = {"model": file.name, "image": named[kind], "weight": round(weight, 4)}
        preprocessor = MAPS[kind].preprocessor
        units.append(unit | ({} if preprocessor == "none" else {"preprocessor": preprocessor}))
    return units


def look_unit(settings: BlueprintSettings, controls: Controls, picture: str) -> dict[str, Any]:
    """The unit of the reference picture, a file name or a data URL. Raises RequestError."""
    return {"model": controls.adapter().name, "image": picture, "weight": settings.look_weight}


def payload_of(sheet: Sheet, settings: BlueprintSettings, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The request of a sheet's rendering as JSON types."""
    width, height = sheet.size
    payload = {
        "model": settings.model,
        "prompt": settings.prompt_for(sheet.kind, sheet.source.name),
        "negative_prompt": settings.negative,
        "width": width,
        "height": height,
        "steps": settings.steps,
        "cfg_scale": settings.cfg_scale,
        "sampler": settings.sampler,
        "seed": settings.seed,
        "units": list(units),
    }
    return {name: value for name, value in payload.items() if value != ""}
