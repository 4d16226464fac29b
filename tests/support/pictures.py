"""Pictures and masks that tests make, and how far pictures are apart."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from tests.support import control_files as files


def mask_image(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """A mask that is constant over each latent's 8 x 8 pixels, with grey values."""
    cells = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return Image.fromarray(cells.repeat(8, 0).repeat(8, 1)).convert("RGB")


CLOSE = 1  # of 255: kernels give other last digits for other batch sizes


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def difference(one: Sequence[Image.Image], other: Sequence[Image.Image]) -> int:
    pairs = zip(one, other, strict=True)
    return max(int(np.abs(pixels(a) - pixels(b)).max()) for a, b in pairs)


HOLE = (20, 24, 38, 44)  # left, top, right and bottom, in pixels
FAR = 7  # pixels from the hole: further than its border reaches


def holed() -> Image.Image:
    picture = files.picture(seed=3).convert("RGBA")
    picture.paste((200, 30, 90, 0), HOLE)
    return picture


def outside(reach: int) -> np.ndarray:
    """Where the picture is further than `reach` pixels from the hole."""
    found = np.ones((64, 64), bool)
    found[HOLE[1] - reach : HOLE[3] + reach, HOLE[0] - reach : HOLE[2] + reach] = False
    return found
