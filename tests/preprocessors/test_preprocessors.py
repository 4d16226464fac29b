"""Every preprocessor on ordinary and odd images, and the checks of its parameters."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.controls.controlnet.union_types import CHOICES
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.preprocessors import Preprocessor, preprocessor, preprocessors
from lib_ctrlgen.request.catalogue import load_object
from lib_ctrlgen.request.params import Param, check_params
from lib_ctrlgen.tuner.scoring.map_likeness import COMPARISONS
from tests.support.control_files import picture
from tests.support.preprocessors import NEED_NO_WEIGHTS

CANNY = preprocessor("canny")


@pytest.mark.parametrize("item", NEED_NO_WEIGHTS, ids=lambda item: item.name)
def test_every_preprocessor_keeps_size_and_mode(item: Preprocessor) -> None:
    defaults = {param.name: param.default for param in item.params}
    image = picture(40, 24)
    before = image.tobytes()
    result = item(image, **defaults)
    assert result.size == (40, 24)
    assert result.mode == "RGB"
    assert image.tobytes() == before, "the picture itself is not changed"
    assert item(image).tobytes() == result.tobytes(), "the declared defaults are the real ones"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (700, 2)])
@pytest.mark.parametrize("item", NEED_NO_WEIGHTS, ids=lambda item: item.name)
def test_odd_sizes(item: Preprocessor, size: tuple[int, int]) -> None:
    assert item(Image.new("RGB", size, (90, 90, 90))).size == size


@pytest.mark.parametrize("item", NEED_NO_WEIGHTS, ids=lambda item: item.name)
def test_parameters_at_their_bounds(item: Preprocessor) -> None:
    for bound in ("minimum", "maximum"):
        values = {param.name: getattr(param, bound) for param in item.params}
        assert item(picture(), **values).size == (64, 64)


@pytest.mark.parametrize("item", list(preprocessors()), ids=lambda item: item.name)
def test_what_its_attributes_name_exists(item: Preprocessor) -> None:
    assert not (item.reads_map and item.detects), "a map is not looked at for anything"
    assert item.union_type in {"", *CHOICES[1:]}
    assert item.compared is None or item.compared in COMPARISONS
    assert not item.after_unet or callable(load_object(item.after_unet).of)


def test_canny_finds_the_border_of_a_square() -> None:
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (8, 8, 24, 24))
    edges = np.asarray(CANNY(image))
    assert set(np.unique(edges)) == {0, 255}
    assert edges[16, 6:10].any()
    assert not edges[12:20, 12:20].any()


def test_canny_thresholds_matter() -> None:
    image = Image.new("RGB", (32, 32))
    image.paste((30, 30, 30), (8, 8, 24, 24))
    assert not np.asarray(CANNY(image, low_threshold=100, high_threshold=200)).any()
    assert np.asarray(CANNY(image, low_threshold=10, high_threshold=20)).any()


def test_invert_is_its_own_inverse() -> None:
    image, invert = picture(), preprocessor("invert")
    assert invert(image).getpixel((0, 0)) == tuple(255 - c for c in image.getpixel((0, 0)))
    assert invert(invert(image)).tobytes() == image.tobytes()


def test_the_colour_grid_has_a_colour_per_64_pixels() -> None:
    image = Image.new("RGB", (192, 128), (200, 30, 60))
    image.paste((10, 220, 90), (64, 0, 128, 64))
    grid = preprocessor("color")(image)
    assert grid.tobytes() == image.tobytes()
    noisy = np.asarray(preprocessor("color")(picture(192, 128)))
    cells = noisy.reshape(2, 64, 3, 64, 3)
    assert (cells == cells[:, :1, :, :1]).all()
    assert len(np.unique(noisy.reshape(-1, 3), axis=0)) == 6


def test_unknown_preprocessor_lists_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"\$\.units\[1\]\.preprocessor: .*canny"):
        preprocessor("cany", "$.units[1].preprocessor")


def test_parameters_get_defaults_and_types() -> None:
    values = check_params({"low_threshold": 50.0}, CANNY.params, "$.params")
    assert values == {"low_threshold": 50, "high_threshold": 200}
    assert isinstance(values["low_threshold"], int)


PARAMS = (
    Param(name="ratio", label="Ratio", kind="float", default=0.5, minimum=0, maximum=1),
    Param(name="count", label="Count", kind="int", default=3, minimum=1),
    Param(name="shape", label="Shape", kind="choice", default="round", choices=("round", "square")),
    Param(name="fast", label="Fast", kind="bool", default=False),
    Param(name="text", label="Text", kind="text", default=""),
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ration": 0.2}, r"\$\.p\.ration: unknown parameter; nearest: ratio"),
        ({"ratio": 2}, r"\$\.p\.ratio: 2 is out of range: Ratio is 0\.\.1"),
        ({"count": 0}, r"\$\.p\.count: 0 is out of range: Count is 1\.\."),
        ({"count": 1.5}, "whole number"),
        ({"ratio": float("nan")}, "expected a number"),
        ({"ratio": True}, "expected a number"),
        ({"ratio": "1"}, "expected a number"),
        ({"shape": "oval"}, "choices: round, square"),
        ({"fast": 1}, "true or false"),
        ({"text": 1}, "expected a text"),
    ],
)
def test_wrong_parameters_say_what_to_do(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_params(given, PARAMS, "$.p")


def test_no_parameters_say_so() -> None:
    with pytest.raises(RequestError, match="there are none"):
        check_params({"low": 1}, (), "$.params")
