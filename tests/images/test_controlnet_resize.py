"""The pixels of sd-webui-controlnet: resizing of maps, and crops for "Only masked"."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_ctrlgen.images.canvas import Crop
from lib_ctrlgen.images.controlnet_crop import cropped
from lib_ctrlgen.images.controlnet_resize import resample_controlnet, thinned, way


def lines(size: int = 48) -> Any:
    """White lines of one pixel on black, [size, size, 3]."""
    drawn = Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((5, 5, size - 9, size - 12), outline="white")
    draw.line((2, size - 4, size - 5, 9), fill="white")
    return np.asarray(drawn)


def hit(image: Any, pattern: Any) -> Any:
    """Where a pattern of 1, -1 (black) and 0 (either) fits, pixel by pixel; nothing fits at the border."""
    found = np.zeros(image.shape, bool)
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            around = image[y - 1 : y + 2, x - 1 : x + 2] > 0
            found[y, x] = (around[pattern == 1]).all() and not around[pattern == -1].any()
    return found


def slowly_thinned(image: Any, spurs: bool) -> Any:
    """Zhang's thinning in loops: each pattern and its turns in order, until nothing changes."""
    edges = [[[-1, -1, -1], [0, 1, 0], [1, 1, 1]], [[0, -1, -1], [1, 1, -1], [0, 1, 0]]]
    ends = [[[-1, -1, -1], [-1, 1, -1], [0, 0, -1]], [[-1, -1, -1], [-1, 1, -1], [-1, 0, 0]]]
    image = image.copy()

    def once(patterns: Any) -> bool:
        changed = False
        for turns in range(4):
            for pattern in patterns:
                found = hit(image, np.rot90(np.array(pattern), turns))
                image[found] = 0
                changed |= bool(found.any())
        return changed

    while once(edges):
        pass
    if spurs:
        once(ends)
    return image


@pytest.mark.parametrize("spurs", [False, True])
def test_thinning(spurs: bool) -> None:
    drawn = Image.new("L", (40, 40))
    draw = ImageDraw.Draw(drawn)
    draw.line((5, 6, 33, 24), fill=255, width=5)
    draw.line((8, 34, 30, 9), fill=255, width=3)
    strokes = np.asarray(drawn)
    assert np.array_equal(thinned(strokes, spurs=spurs), slowly_thinned(strokes, spurs))


def test_lines_stay_black_and_white_and_thin() -> None:
    for size in (96, 30):
        found = resample_controlnet(lines(), size, size)
        assert set(np.unique(found)) == {0, 255}
        opened = cv2.morphologyEx(found[..., 0], cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        assert opened.max() == 0, "no stroke is three pixels wide"


def test_the_interpolation_follows_the_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert way(noise, 20, 20) == cv2.INTER_AREA
    assert way(noise, 60, 60) == cv2.INTER_CUBIC
    assert way(noise // 100 * 100, 60, 60) == cv2.INTER_NEAREST, "27 colours"
    exact = resample_controlnet(noise.astype(np.float32), 60, 60)
    assert exact.min() < 0
    assert exact.max() > 255
    assert np.abs(exact.clip(0, 255) - resample_controlnet(noise, 60, 60)).max() <= 1


@pytest.mark.parametrize("resize_mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
def test_a_crop_is_the_part_of_the_fitted_picture(resize_mode: Any) -> None:
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    pixels = np.repeat(np.tile(ramp, (30, 1))[..., None], 3, axis=2)
    crop = Crop(box=(10, 10, 30, 30), whole=(40, 40))
    found = cropped(pixels, crop, 64, 64, resize_mode)
    assert found.shape == (64, 64, 3)
    across = {"just_resize": 40, "crop_and_resize": 80, "resize_and_fill": 40}[resize_mode]
    left = {"just_resize": 10, "crop_and_resize": 30, "resize_and_fill": 10}[resize_mode]
    wanted = (left + (np.arange(64) + 0.5) * 20 / 64) / across * 255
    assert np.abs(found[32, 4:-4, 0] - wanted[4:-4]).max() < 4
