"""Grey pictures of more than eight bits, such as depth maps: what is black and what is white in them.

- 16-bit integers: 0 is black, 65535 is white.
- Floats from 0 to 1 are taken as they are.
- Other floats, and 32-bit integers: the smallest value is black, the largest is white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import RequestError

WHITE_16 = 65535
ROUNDING = 1e-3  # floats may leave 0..1 by this much, and are then cut off
UNSIGNED = 1
SAMPLE_FORMAT = 339  # the TIFF tag that tells signed from unsigned integers


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than eight bits per pixel."""
    return image.mode == "F" or image.mode.startswith("I")


@dataclass(frozen=True)
class Kind:
    """How the numbers of a deep picture are to be read. `white` is None where they decide it themselves.

    `unsigned`: Pillow shows unsigned 32-bit integers as signed ones.
    """

    white: int | None = None
    unsigned: bool = False


def kind_of(image: Image.Image) -> Kind:
    """That of a picture as it was opened: later its format and tags are gone."""
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    tags = getattr(image, "tag_v2", None)
    unsigned = tags is not None and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
    return Kind(white=WHITE_16 if sixteen else None, unsigned=unsigned)


def grey_of(image: Image.Image, kind: Kind) -> Image.Image:
    """A deep picture as one of Pillow's mode F, brightness in 0..1; as RGB where 8 bits hold it exactly.

    Raises RequestError for values that are not finite.
    """
    values = np.asarray(image)
    if kind.unsigned and values.dtype == np.int32:
        values = values.view(np.uint32)
    return grey_picture(brightness(values, kind.white))


def brightness(values: NDArray[Any], white: int | None) -> NDArray[np.float32]:
    """Numbers [H, W] as brightness in 0..1, by the rules above.

    Raises RequestError if some are not finite.
    """
    exact = values.astype(np.float64)
    wrong = int(exact.size - np.isfinite(exact).sum())
    if wrong:
        raise RequestError(
            "", f"{wrong} of its {exact.size} values are not numbers (NaN or infinite): fill them first"
        )
    if white is not None:
        return (exact / white).astype(np.float32)
    low, high = float(exact.min()), float(exact.max())
    if values.dtype.kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        return exact.clip(0, 1).astype(np.float32)
    if low == high:
        return np.full(values.shape, float(low != 0), np.float32)
    return ((exact - low) / (high - low)).astype(np.float32)


def grey_picture(bright: NDArray[np.float32]) -> Image.Image:
    """A picture of brightness [H, W]: RGB where eight bits hold it exactly, else of Pillow's mode F."""
    levels = bright * np.float32(255)
    whole = levels.round()
    if np.abs(levels - whole).max() > ROUNDING:
        return Image.fromarray(bright)
    return Image.fromarray(whole.astype(np.uint8)).convert("RGB")
