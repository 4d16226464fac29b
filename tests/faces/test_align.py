"""A face's five points are brought onto ArcFace's template by a rotation, a scale and a shift."""

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.faces.align import norm_crop, similarity, template

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (30, 2.5), (-170, 0.3), (90, 7)])
def test_a_known_similarity_is_recovered(degrees: float, scale: float) -> None:
    found = similarity(TEMPLATE, turned(TEMPLATE, degrees, scale, (12.5, -40)))
    angle = np.radians(degrees)
    wanted = [
        [scale * np.cos(angle), -scale * np.sin(angle), 12.5],
        [scale * np.sin(angle), scale * np.cos(angle), -40],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("mirrored", [False, True])
def test_noisy_points_give_the_least_squares_solution(mirrored: bool) -> None:
    """Of all matrices [[a, -b, x], [b, a, y]], which numpy's solver finds in another way."""
    random = np.random.default_rng(3)
    for _ in range(20):
        points = random.normal(size=(5, 2)) * (-1 if mirrored else 1, 1)
        goal = TEMPLATE + random.normal(size=(5, 2))
        rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points]
        (a, b, x, y), *_ = np.linalg.lstsq(np.reshape(rows, (10, 4)), goal.reshape(10), rcond=None)
        np.testing.assert_allclose(similarity(points, goal), [[a, -b, x], [b, a, y]], rtol=1e-7, atol=1e-7)


def test_the_template_is_scaled_as_in_insightface() -> None:
    np.testing.assert_allclose(template(112), TEMPLATE)
    np.testing.assert_allclose(template(224)[0], (76.5892, 103.3926))
    np.testing.assert_allclose(template(336)[2], (168.0756, 215.2098))
    np.testing.assert_allclose(template(256)[0], (2 * 46.2946, 103.3926))
    for size in (0, -112, 200):
        with pytest.raises(ValueError, match="multiple of 112"):
            template(size)


@pytest.mark.parametrize("size", [112, 224, 256])
def test_an_aligned_face_has_its_points_at_the_template(size: int) -> None:
    picture = Image.new("RGB", (400, 300), (20, 20, 20))
    points = turned(TEMPLATE, 25, 1.6, (120, 0)).round()
    colours = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (250, 0, 250))
    for (x, y), colour in zip(points, colours, strict=True):
        picture.paste(colour, (int(x) - 3, int(y) - 3, int(x) + 4, int(y) + 4))
    crop = norm_crop(picture, [(x, y) for x, y in points], size)
    assert (crop.size, crop.mode) == ((size, size), "RGB")
    for (x, y), colour in zip(template(size), colours, strict=True):
        np.testing.assert_allclose(crop.getpixel((round(x), round(y))), colour, atol=3)


def test_points_at_one_place_are_refused() -> None:
    for place in (3.0, float("nan"), float("inf")):
        with pytest.raises(ModelError, match="at one place"):
            norm_crop(Image.new("RGB", (9, 9)), [(place, place)] * 5, 112)
