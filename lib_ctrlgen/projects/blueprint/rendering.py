"""Renders one sheet into a folder of its own, through the job file that lies in that folder afterwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.files import save_bytes, save_picture, save_text
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.outputs import picture_infos
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.projects.control_models import Controls

from .kept_lines import KeptLines, kept_lines, overlay
from .maps import lines_at
from .report import save_sheet_report
from .settings import PICTURE, BlueprintSettings, as_inputs
from .sheet import Sheet, control_units, look_unit, payload_of
from .strength import Setup

ORIGINAL, CLEANED, RENDERING, OVERLAY = "original.jpg", "cleaned.png", "rendering.png", "lines.png"
JOB, LOOK = "job.yaml", "look.png"
VERSION = 1  # of cleaning and maps: raise it when they change, and all sheets are made again
PARAGRAPH = """\
# The rendering of {name}, made by `ctrlgen blueprint`. To make it again, exactly:
#     ctrlgen run {job} --out pictures
"""
SECOND = "# The second of the two pictures is the sheet's; the first one gives its style (StyleAligned).\n"


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """Renders sheets with the same settings and controls.

    look    the reference picture, if the look is one
    anchor  the sheet whose style the others get, if the look is `aligned`
    """

    engine: Engine
    settings: BlueprintSettings
    controls: Controls
    setup: Setup
    look: Image.Image | None = None
    anchor: Sheet | None = None

    def aligned(self, sheet: Sheet) -> bool:
        """Whether a sheet is generated beside the anchor."""
        return self.anchor is not None and self.anchor.source.name != sheet.source.name

    def render(self, sheet: Sheet, folder: Path, final: Path) -> dict[str, Any]:
        """Write all files of a sheet into `folder`, which becomes `final`; returns the record of the result.

        Raises RequestError and HostError.
        """
        job = self.write_job(sheet, folder, final)
        generation = self.engine.generate(read_job(job).request)
        picture = generation.images[-1]
        infos = picture_infos(generation.request, generation)
        save_picture(picture, folder / RENDERING, infos[-1])
        compared = kept_lines(picture, sheet.lines)
        save_picture(overlay(picture, compared), folder / OVERLAY)
        record = self.record(sheet, generation, compared)
        save_sheet_report(folder, sheet, record, self.settings, self.setup)
        return record

    def write_job(self, sheet: Sheet, folder: Path, final: Path) -> Path:
        """Write the job and its pictures."""
        save_jpeg(sheet.original, folder / ORIGINAL)
        save_picture(sheet.drawing.picture, folder / CLEANED)
        named = {kind: f"map-{kind}.png" for kind in self.setup.kinds}
        for kind, name in named.items():
            save_picture(sheet.map_picture(kind), folder / name)
        units = control_units(self.setup.kinds, self.controls, self.setup.weight, named)
        if self.look is not None and self.settings.look == PICTURE:
            save_picture(self.look, folder / LOOK)
            units.append(look_unit(self.settings, self.controls, LOOK))
        payload = payload_of(sheet, self.settings, units)
        text = PARAGRAPH.format(name=sheet.source.path.name, job=final / JOB)
        if self.aligned(sheet):
            payload |= self.aligned_fields(sheet, folder, units)
            text += SECOND
        return save_text(text + yaml_text(payload), folder / JOB)

    def aligned_fields(self, sheet: Sheet, folder: Path, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The fields of a job with two pictures: the anchor's and the sheet's, each with its own maps."""
        assert self.anchor is not None
        beside = self.anchor_at(sheet.size)
        changed = []
        for kind, unit in zip(self.setup.kinds, units, strict=True):
            name = f"anchor-{kind}.png"
            save_picture(beside.map_picture(kind), folder / name)
            changed.append({**unit, "images": [name, unit["image"]]})
            del changed[-1]["image"]
        return {"units": [*changed, {"control": "style_aligned"}], "batch_size": 2}

    def anchor_at(self, size: tuple[int, int]) -> Sheet:
        """The anchor with its lines at another size."""
        assert self.anchor is not None
        return replace(self.anchor, size=size, lines=lines_at(self.anchor.drawing.lines, size))

    def record(self, sheet: Sheet, generation: Generation, compared: KeptLines) -> dict[str, Any]:
        """What is kept of a sheet as JSON types."""
        return {
            "name": sheet.source.name,
            "source": str(sheet.source.path),
            "drawing": sheet.kind,
            "size": list(sheet.size),
            "tilt": sheet.drawing.tilt,
            "inverted": sheet.drawing.inverted,
            "notes": list(sheet.source.notes),
            "lines": compared.numbers,
            "seed": generation.seeds[-1],
            "seconds": round(generation.seconds, 3),
            "models": generation.loaded.listed(),
            "warnings": list(generation.warnings),
        }

    def inputs(self, sheet_digest: str) -> dict[str, Any]:
        """All that a rendering depends on, as JSON types: equal inputs give the same rendering."""
        return {
            "picture": sheet_digest,
            "settings": as_inputs(self.settings) | {"kinds": list(self.setup.kinds)},
            "weight": self.setup.weight,
            "look": "" if self.look is None else image_hash(self.look),
            "anchor": "" if self.anchor is None else self.anchor.source.digest,
            "version": VERSION,
        }


def save_jpeg(picture: Image.Image, path: Path) -> Path:
    """Write a JPEG. Raises HostError."""
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=88)
    return save_bytes(data.getvalue(), path)
