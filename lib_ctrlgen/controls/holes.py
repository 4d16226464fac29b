"""Where a unit's picture has holes: the areas that are generated anew."""

from __future__ import annotations

from PIL import Image, ImageChops

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.resize import filled, smooth
from lib_ctrlgen.preprocessors import preprocessor

from .base import UnitInputs

NO_HOLE = (
    "the picture has no hole to paint: send a PNG that is transparent there, or choose 'resize_and_fill' "
    "and another shape than the generation's, to paint around the picture"
)


def fitted(job: UnitInputs, picture: Image.Image, width: int, height: int) -> Image.Image:
    """A picture of a unit at a size, fitted as the unit says."""
    return job.frame.fitted(picture, width, height, smooth)


def has_border(job: UnitInputs) -> bool:
    """Whether what 'resize_and_fill' fills around the picture is to be painted, too."""
    return preprocessor(job.unit.preprocessor).marks_holes and job.unit.resize_mode == "resize_and_fill"


def holes_at(job: UnitInputs, width: int, height: int) -> Image.Image:
    """White in the holes of a unit's picture at a size, black elsewhere, as RGB."""
    given = job.transparent or Image.new("RGB", job.picture.size)
    holes = fitted(job, given, width, height)
    if has_border(job):
        whole = job.crop.whole if job.crop else (width, height)
        around = Frame("just_resize", job.crop)
        border = around.fitted(filled(job.picture.size, *whole), width, height, smooth)
        holes = ImageChops.lighter(holes, border)
    return holes.point(lambda v: 255 * (v > 127))


def require_hole(job: UnitInputs) -> None:
    """Raise RequestError for a picture without holes (`Source.holes` finds those that vanish at a size)."""
    if job.transparent is None and not has_border(job):
        raise RequestError(f"{job.path}.image", NO_HOLE)
