"""Finds the holes of a unit's picture: the areas that are generated anew."""

from __future__ import annotations

from PIL import Image, ImageChops

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.resize import filled, smooth
from lib_ctrlgen.preprocessors import chain_of

from .base import UnitInputs
from .controlnet_map import fitted_holes, fitted_picture

NO_HOLE = (
    "the picture has no hole to paint: send a PNG that is transparent where it is to be painted, or choose "
    "'resize_and_fill' and a picture of other proportions than the generation, to paint around the picture"
)


def fitted(job: UnitInputs, picture: Image.Image, width: int, height: int) -> Image.Image:
    """Fit a picture of a unit to a size in pixels, by the unit's resize mode and crop."""
    if job.unit.semantics is not None:
        return fitted_picture(job, picture, width, height)
    return job.frame.fitted(picture, width, height, smooth)


def has_border(job: UnitInputs) -> bool:
    """Whether the border that 'resize_and_fill' adds around the picture is a hole."""
    return chain_of(job.unit.preprocessor).marks_holes and job.unit.resize_mode == "resize_and_fill"


def holes_at(job: UnitInputs, width: int, height: int) -> Image.Image:
    """The holes of a unit's picture at a size: an RGB picture, white in holes and black elsewhere."""
    marked = job.transparent or Image.new("RGB", job.picture.size)
    if job.unit.semantics is not None:
        holes = fitted_holes(job, marked, width, height)
    else:
        holes = fitted(job, marked, width, height)
    if has_border(job):
        size = job.crop.whole if job.crop else (width, height)
        around = Frame("just_resize", job.crop)
        border = around.fitted(filled(job.picture.size, *size), width, height, smooth)
        holes = ImageChops.lighter(holes, border)
    return holes.point(lambda v: 255 * (v > 127))


def require_hole(job: UnitInputs) -> None:
    """Raise RequestError for a picture without holes; `Source.holes` checks that some are left at a size.

    sd-webui-controlnet paints such pictures without holes.
    """
    if job.transparent is None and not has_border(job) and job.unit.semantics is None:
        raise RequestError(f"{job.path}.image", NO_HOLE)
