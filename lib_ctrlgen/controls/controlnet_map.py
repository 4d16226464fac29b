"""The control map of a unit with the semantics of sd-webui-controlnet 1.1.455.

The preprocessor runs once on the picture in its own proportions, and its map is then fitted to each pass.
CtrlGen's own units are fitted first, and preprocessed at the size of each pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lib_ctrlgen.images.controlnet_crop import cropped
from lib_ctrlgen.images.controlnet_resize import resample_controlnet, way
from lib_ctrlgen.images.resize import Pixels, fit_pixels
from lib_ctrlgen.preprocessors import PreprocessorChain, chain_of
from lib_ctrlgen.preprocessors.chain import Values
from lib_ctrlgen.preprocessors.detection import RESOLUTION

from .base import UnitInputs

CELL = 64  # networks of preprocessors get whole cells
UNPADDED = ("blur_gaussian", "color")  # preprocessors that get no more than the picture
SHUFFLE = "shuffle"
PERIOD = 256  # of its noise, in pixels
HALF = 127  # of 255; a brighter mask is a hole
UNSHRUNK = 1.1  # the least factor at which `tile_resample` shrinks the picture


def map_at(job: UnitInputs, chain: PreprocessorChain, values: Values, width: int, height: int) -> Image.Image:
    """The map at a size in pixels, RGB. Raises RequestError if the preprocessor cannot run."""
    own = _preprocessed(job, chain, values, part_of(job, pixels_of(job.picture), width, height))
    return Image.fromarray(fitted_map(job, own, width, height))


def map_of(job: UnitInputs, width: int, height: int) -> Image.Image:
    """The map of a unit at a size in pixels, RGB, for a preprocessor without weights."""
    chain = chain_of(job.unit.preprocessor, f"{job.path}.preprocessor")
    return map_at(job, chain, chain.values(job.unit.params), width, height)


def exact_map_at(job: UnitInputs, width: int, height: int) -> NDArray[np.float32]:
    """The map [height, width, 3] of a preprocessor for inpainting, in 0..255, not rounded and not clipped."""
    picture = part_of(job, pixels_of(job.colours or job.picture), width, height)
    return np.asarray(fitted_map(job, picture.astype(np.float32), width, height), np.float32)


def fitted_map(job: UnitInputs, pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """A map [H, W, 3] fitted to [height, width, 3] by the unit's resize mode."""
    return np.asarray(fit_pixels(pixels, width, height, job.unit.resize_mode, resample_controlnet))


def fitted_picture(job: UnitInputs, picture: Image.Image, width: int, height: int) -> Image.Image:
    """One of the unit's pictures cropped and fitted to a size in pixels, RGB, without a preprocessor."""
    return Image.fromarray(fitted_map(job, part_of(job, pixels_of(picture), width, height), width, height))


def fitted_holes(job: UnitInputs, marked: Image.Image, width: int, height: int) -> Image.Image:
    """Holes fitted like the picture, with the same interpolation: RGB, white where `marked` is bright."""
    picture = part_of(job, pixels_of(job.colours or job.picture), width, height)
    holes = part_of(job, pixels_of(marked), width, height).astype(np.float32)

    def resize(pixels: Any, across: int, down: int) -> Any:
        if pixels.shape[:2] == (down, across):
            return pixels
        return cv2.resize(pixels, (across, down), interpolation=way(picture, across, down))

    found = fit_pixels(holes, width, height, job.unit.resize_mode, resize)
    return Image.fromarray(np.where(found > HALF, 255, 0).astype(np.uint8))


def soft_holes(picture: Image.Image, mask: Image.Image | None) -> Image.Image | None:
    """Holes that are not yet black or white, RGB: of a mask, else of a picture's transparency; None for none.

    They become black or white after they are fitted.
    """
    if mask is not None:
        return mask.convert("L").convert("RGB")
    if picture.mode != "RGBA":
        return None
    return ImageOps.invert(picture.getchannel("A")).convert("RGB")


def part_of(job: UnitInputs, pixels: Pixels, width: int, height: int) -> Pixels:
    """The part of a picture [H, W, 3] that is painted; the picture itself if all of it is."""
    if job.crop is None:
        return pixels
    return cropped(pixels, job.crop, width, height, job.unit.resize_mode)


def pixels_of(picture: Image.Image) -> Pixels:
    """An RGB picture as [H, W, 3]."""
    return np.asarray(picture.convert("RGB"))


def _preprocessed(job: UnitInputs, chain: PreprocessorChain, values: Values, pixels: Pixels) -> Pixels:
    """The map of a picture [H, W, 3], in the picture's own proportions."""
    stage = chain.preprocessors[0]
    own = {name: value for name, value in values[0].items() if name != RESOLUTION.name}
    special = _SPECIAL.get(stage.name)
    if special is not None:
        return special(pixels, own)
    resolution = 0 if job.unit.semantics is None else job.unit.semantics.resolution
    small = pixels if resolution == 0 else at_resolution(pixels, resolution, by_area=stage.name == "color")
    if stage.name == SHUFFLE:
        return shuffled(small, int(own["seed"]))
    padded = small if resolution == 0 or stage.name in UNPADDED else whole_cells(small)
    found = pixels_of(stage(Image.fromarray(padded), **own))
    return np.ascontiguousarray(found[: small.shape[0], : small.shape[1]])


def at_resolution(pixels: Pixels, resolution: int, *, by_area: bool = False) -> Pixels:
    """A picture [H, W, 3] with a short side of `resolution` pixels.

    It shrinks by area averaging and grows by cubic interpolation, with `by_area` by area averaging, too.
    """
    scale = resolution / min(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    how = cv2.INTER_CUBIC if scale > 1 and not by_area else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def whole_cells(pixels: Pixels) -> Pixels:
    """A picture [H, W, 3] with its border repeated to the right and below, up to a whole number of cells."""
    below, right = (-side % CELL for side in pixels.shape[:2])
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")


def _shrunk(pixels: Pixels, values: Mapping[str, Any]) -> Pixels:
    """`tile_resample`: the picture shrunk by `factor`; it is enlarged when it is fitted."""
    factor = float(values["factor"])
    if factor < UNSHRUNK:
        return pixels
    size = int(pixels.shape[1] / factor), int(pixels.shape[0] / factor)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _light(space: int, channel: int) -> Callable[[Pixels, Mapping[str, Any]], Pixels]:
    """`recolor`: a channel of a colour space to the power of `gamma`, read as if the picture were BGR."""

    def light(pixels: Pixels, values: Mapping[str, Any]) -> Pixels:
        share = cv2.cvtColor(pixels, space)[..., channel].astype(np.float32) / 255.0
        grey = np.asarray((share ** float(values["gamma"]) * 255.0).clip(0, 255), np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)

    return light


def shuffled(pixels: Pixels, seed: int) -> Pixels:
    """`shuffle`: a picture [H, W, 3] warped by two fields of noise from NumPy's old generator."""
    random = np.random.RandomState(seed)
    height, width = pixels.shape[:2]
    across = _noise(random, height, width) * (width - 1)
    down = _noise(random, height, width) * (height - 1)
    warped = cv2.remap(pixels, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)


def _noise(random: np.random.RandomState, height: int, width: int) -> NDArray[np.float64]:
    """Smooth noise [height, width] in 0..1, with a number for each `PERIOD` pixels."""
    coarse = random.uniform(size=(height // PERIOD + 2, width // PERIOD + 2))
    size = width + 2 * PERIOD, height + 2 * PERIOD
    fine = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float64)
    fine = fine[PERIOD : PERIOD + height, PERIOD : PERIOD + width]
    fine = fine - fine.min()
    return np.asarray(fine / fine.max(), np.float64)


_SPECIAL: Mapping[str, Callable[[Pixels, Mapping[str, Any]], Pixels]] = {
    "tile_resample": _shrunk,
    "recolor_luminance": _light(cv2.COLOR_BGR2LAB, 0),
    "recolor_intensity": _light(cv2.COLOR_BGR2HSV, 2),
}
