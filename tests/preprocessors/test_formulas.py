"""The preprocessors that are formulas, against the formula computed by scipy or pixel by pixel."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from lib_ctrlgen.preprocessors import preprocessor
from tests.support.control_files import picture

INNER = (slice(24, -24), slice(24, -24))  # away from the border, where blurs differ in how they extend


def noise(side: int = 96) -> Image.Image:
    """A smooth picture with dark strokes."""
    rng = np.random.default_rng(3)
    ground = gaussian_filter(rng.uniform(120, 255, (side, side, 3)), (4, 4, 0))
    ground[40:44, 10:80] = 20
    ground[20:70, 50:52] = (200, 10, 30)
    return Image.fromarray(ground.astype(np.uint8))


def blurred(image: Image.Image, sigma: float) -> np.ndarray:
    return gaussian_filter(np.asarray(image, np.float64), (sigma, sigma, 0), truncate=6)


@pytest.mark.parametrize("sigma", [0.01, 2.0, 5.0])
def test_gaussian_blur(sigma: float) -> None:
    made = np.asarray(preprocessor("blur_gaussian")(noise(), sigma=sigma), np.float64)
    assert np.abs(made - blurred(noise(), sigma))[INNER].max() < 2


def test_threshold_looks_at_the_darkest_channel() -> None:
    image = Image.new("RGB", (3, 1))
    image.putdata([(128, 255, 255), (127, 255, 255), (0, 255, 255)])
    assert np.asarray(preprocessor("threshold")(image))[0, :, 0].tolist() == [255, 0, 0]
    assert np.asarray(preprocessor("threshold")(image, threshold=255)).max() == 0


def test_lineart_standard() -> None:
    darker = (blurred(noise(), 6) - np.asarray(noise(), np.float64)).min(axis=2).clip(0, 255)
    wanted = (darker / max(16, np.median(darker[darker > 8])) * 127).clip(0, 255)
    made = np.asarray(preprocessor("lineart_standard")(noise()), np.float64)[:, :, 0]
    assert np.abs(made - wanted)[INNER].max() < 4
    assert made[42, 45] > 100
    assert made[60, 30] < 10


def test_an_even_picture_has_no_lines() -> None:
    for name in ("lineart_standard", "scribble_xdog"):
        assert not np.asarray(preprocessor(name)(Image.new("RGB", (32, 32), "white"))).any()


def test_scribble_xdog() -> None:
    difference = (blurred(noise(), 5) - blurred(noise(), 0.5)).min(axis=2).clip(0, 255)
    for threshold in (16, 32, 64):
        made = np.asarray(preprocessor("scribble_xdog")(noise(), threshold=threshold))[:, :, 0] > 0
        sure = np.abs(2 * difference - threshold) > 4
        assert (made == (2 * difference > threshold))[INNER][sure[INNER]].all()
    assert made[42, 45]


def test_shuffle_moves_what_is_there_and_nothing_else() -> None:
    shuffle = preprocessor("shuffle")
    image = picture(96, 64)
    made = shuffle(image)
    assert made.tobytes() == shuffle(image, seed=0).tobytes() != shuffle(image, seed=1).tobytes()
    halves = Image.new("RGB", (96, 64), "red")
    halves.paste("blue", (48, 0, 96, 64))
    red = np.asarray(shuffle(halves), int)
    assert (red[..., 1] == 0).all()
    assert np.abs(red[..., 0] + red[..., 2] - 255).max() <= 1
    assert 0.1 < (red[..., 0] > 127).mean() < 0.9
    ramp = Image.fromarray(np.tile(np.arange(96, dtype=np.uint8), (64, 1))).convert("RGB")
    assert np.abs(np.diff(np.asarray(shuffle(ramp), int)[:, :, 0], axis=1)).max() < 16, "the warp is smooth"
