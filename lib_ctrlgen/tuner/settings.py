"""The settings that all cells of a run share, for the report: the prompt, the size, the units."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_ctrlgen.controls.recorded import with_pictures
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.images.poses.drawing import as_picture
from lib_ctrlgen.request.spec import ControlUnit

from .axes import REPLACE, Axis
from .cells import Grid
from .finished_cell import FinishedCell

LABELS = {
    "model": "Checkpoint", "prompt": "Prompt", "negative_prompt": "Negative prompt", "steps": "Steps",
    "sampler": "Sampler", "scheduler": "Schedule type", "cfg_scale": "CFG scale", "seed": "First seed",
    "denoising_strength": "Denoising strength", "blend": "Blend", "prompt_weights": "Named prompt weights",
}  # fmt: skip
UNIT_LABELS = {"guidance_start": "start", "guidance_end": "end"}
HIDDEN = ("units", "host", "batch_size", "width", "height")
ALWAYS = {"weight": 1, "preprocessor": "none"}  # fields of a unit that are shown even with default values
THUMBNAIL = 160  # pixels
MOST = 4  # pictures of one unit


@dataclass(frozen=True, kw_only=True)
class Block:
    """A title with rows of names and values, and pictures as data URLs, each with a caption."""

    title: str
    rows: Sequence[tuple[str, str]]
    pictures: Sequence[tuple[str, str]] = field(default_factory=tuple)


def settings_of(grid: Grid, done: Sequence[FinishedCell]) -> list[Block]:
    """The settings outside units, then those of each unit; empty while no cell is finished."""
    if not done:
        return []
    request = done[0].request
    varied = {path: axis for axis in grid.axes for path in axis.paths}
    payload = with_pictures(request, lambda _picture: "picture", whole=True)
    base = Block(title="Base", rows=list(_base_rows(request, payload, varied, grid.seeds)))
    units = [
        _unit(index, unit, payload["units"][index], varied)
        for index, unit in enumerate(request.units)
        if unit.enabled
    ]
    return [base, *units]


def _base_rows(
    request: Any, payload: Mapping[str, Any], varied: Mapping[str, Axis], seeds: int
) -> Iterator[tuple[str, str]]:
    for name, label in LABELS.items():
        yield from _row(label, name, payload.get(name), varied)
        if name == "prompt" and REPLACE in varied:
            first, *others = varied[REPLACE].shown
            yield "Search and replace", f"“{first}” varies: {', '.join((first, *others))}"
    for path, axis in varied.items():
        if path.startswith("prompt.") and path != REPLACE:
            yield path, _varies(axis)
    yield "Size", f"{request.width} x {request.height}"
    if seeds > 1:
        yield "Pictures per cell", f"{seeds}: the first seed and those after it"


def _unit(index: int, unit: ControlUnit, fields: Mapping[str, Any], varied: Mapping[str, Axis]) -> Block:
    values = {"model": unit.model, **ALWAYS, **fields}
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if name not in ("image", "images", "mask", "masks", "enabled"):
            rows += _row(
                UNIT_LABELS.get(name, name.replace("_", " ")), f"units.{index}.{name}", value, varied
            )
    known = {f"units.{index}.{name}" for name in values}
    rest = {path: axis for path, axis in varied.items() if path.startswith(f"units.{index}.")}
    rows += [(path.split(".", 2)[2], _varies(axis)) for path, axis in rest.items() if path not in known]
    return Block(title=f"Unit {index}", rows=rows, pictures=list(_pictures(unit)))


def _row(label: str, path: str, value: Any, varied: Mapping[str, Axis]) -> Iterator[tuple[str, str]]:
    if path in varied:
        yield label, _varies(varied[path])
    elif value not in (None, "", [], {}):
        yield label, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _varies(axis: Axis) -> str:
    return f"varies: {', '.join(axis.shown)}" if len(axis.paths) == 1 else f"varies with {axis.label}"


def _pictures(unit: ControlUnit) -> Iterator[tuple[str, str]]:
    """A unit's pictures as thumbnails: a caption and a data URL for each."""
    named = [("picture", text) for text in (unit.image, *unit.images) if text]
    named += [("mask", text) for text in (unit.mask, *unit.masks) if text]
    for caption, text in named[:MOST]:
        small = as_picture(decode_control_picture(text, "")).convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        stream = io.BytesIO()
        small.save(stream, "PNG")
        yield caption, f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
