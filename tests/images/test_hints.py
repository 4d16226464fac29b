"""Control images become hints: maps and pictures are resampled differently; detection works at any size."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Crop, Frame
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.resize import fit, resample, smooth
from lib_ctrlgen.preprocessors import detected, params_of, preprocessor, preprocessors
from lib_ctrlgen.preprocessors.detection import RESOLUTION, detection_size
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.request.unit import ResizeMode
from lib_ctrlgen.tuner.scoring.scores import adherence
from tests.support.control_files import picture
from tests.support.preprocessors import NEED_NO_WEIGHTS
from tests.support.properties import examples

MODES: tuple[ResizeMode, ...] = ("just_resize", "crop_and_resize", "resize_and_fill")
CANNY, NONE, INVERT = map(preprocessor, ("canny", "none", "invert"))
sizes = st.integers(16, 160)


def colours(image: Image.Image) -> set[Any]:
    return {colour for _, colour in image.getcolors(1 << 15) or []}


@st.composite
def segmentations(draw: st.DrawFn) -> Image.Image:
    """Three to two hundred flat colours in rectangles."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    width, height, count = draw(sizes), draw(sizes), draw(st.integers(3, 150))
    palette = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    return Image.fromarray(
        palette[rng.integers(0, count, (height // 4 + 1, width // 4 + 1))].repeat(4, 0).repeat(4, 1)
    )


@given(segmentations(), sizes, sizes, st.sampled_from(MODES))
@examples(40)
def test_a_segmentation_invents_no_colour(
    image: Image.Image, width: int, height: int, mode: ResizeMode
) -> None:
    fitted = detected(NONE, image, Frame(mode), (width, height), {})
    assert fitted.size == (width, height)
    known = colours(image)
    if len(known) > 2:
        border = np.asarray(image)[[0, -1]].reshape(-1, 3), np.asarray(image)[:, [0, -1]].reshape(-1, 3)
        median = tuple(np.median(np.concatenate(border), axis=0).astype(np.uint8).tolist())
        assert colours(fitted) <= known | ({median} if mode == "resize_and_fill" else set())


@st.composite
def closed_lines(draw: st.DrawFn) -> Image.Image:
    """A closed line of one pixel, white on black."""
    side = draw(st.integers(64, 160))
    image = Image.new("RGB", (side, side))
    low, high = draw(st.integers(4, 16)), side - draw(st.integers(4, 16))
    shape = ImageDraw.Draw(image)
    if draw(st.booleans()):
        shape.ellipse((low, low + 3, high, high - 3), outline="white")
    else:
        shape.polygon([(low, high), (side // 2, low), (high, high - 5)], outline="white")
    return image


@given(closed_lines(), st.floats(0.5, 3), st.floats(0.8, 1.25))
@examples(40)
def test_a_line_stays_binary_thin_and_whole(image: Image.Image, scale: float, stretch: float) -> None:
    size = round(image.width * scale), round(image.height * scale * stretch)
    fitted = np.asarray(detected(NONE, image, Frame("just_resize"), size, {}))
    assert set(np.unique(fitted)) <= {0, 255}
    line = (fitted[..., 0] > 0).astype(np.uint8)
    pieces, _ = cv2.connectedComponents(line, connectivity=8)
    assert pieces == 2, "the ground and one line"
    squares = line[1:, 1:] & line[:-1, 1:] & line[1:, :-1] & line[:-1, :-1]
    assert squares.sum() <= 0.02 * line.sum(), "one pixel wide"
    around, _ = cv2.connectedComponents(1 - line, connectivity=4)
    assert around >= 3, "it is still closed: there is an inside and an outside"


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(MODES))
@examples(40)
def test_a_black_and_white_map_stays_one(width: int, height: int, mode: ResizeMode) -> None:
    image = Image.new("RGB", (40, 30))
    ImageDraw.Draw(image).ellipse((5, 4, 34, 25), fill="white")
    assert colours(detected(NONE, image, Frame(mode), (width, height), {})) <= {(0, 0, 0), (255, 255, 255)}


def drawing() -> Image.Image:
    """A flat drawing of few colours: no map, but a picture for a preprocessor."""
    image = Image.new("RGB", (60, 60), (250, 240, 230))
    shape = ImageDraw.Draw(image)
    shape.ellipse((10, 12, 50, 44), fill=(200, 30, 30))
    shape.rectangle((20, 30, 40, 55), fill=(20, 20, 120))
    return image


def test_a_picture_for_a_preprocessor_is_resampled_as_a_picture() -> None:
    """Few colours are no reason to keep them, two no reason for Otsu: only maps have such rules."""
    seen: list[Image.Image] = []

    class Sees(type(CANNY)):  # type: ignore[misc]
        def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
            seen.append(image)
            return image

    for size, interpolation in (((150, 150), cv2.INTER_CUBIC), ((20, 20), cv2.INTER_AREA)):
        detected(Sees(), drawing(), Frame("just_resize"), size, {})
        wanted = cv2.resize(np.asarray(drawing()), size, interpolation=interpolation)
        assert np.array_equal(np.asarray(seen[-1]), wanted)
        assert len(colours(seen[-1])) > 3
    for name in ("none", "invert"):
        assert (
            len(colours(detected(preprocessor(name), drawing(), Frame("just_resize"), (150, 150), {}))) == 3
        )


def test_transparency_is_white_before_anything_else() -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (5, 5, 15, 15))
    solid = Image.new("RGB", (20, 20), "white")
    solid.paste((255, 0, 0), (5, 5, 15, 15))
    for chosen in NEED_NO_WEIGHTS:
        for mode in MODES:
            given_, wanted = (detected(chosen, each, Frame(mode), (48, 32), {}) for each in (clear, solid))
            assert given_.tobytes() == wanted.tobytes()


# the resolution of detection


def test_canny_at_512_of_a_1024_picture_is_that_of_the_smaller_picture_resized() -> None:
    photo = drawing().resize((1024, 1536), Image.Resampling.BICUBIC)
    low = {"low_threshold": 20, "high_threshold": 40}
    found = detected(CANNY, photo, Frame("crop_and_resize"), (1024, 1536), {**low, "resolution": 512})
    smaller = Image.fromarray(smooth(np.asarray(photo), 512, 768))
    wanted = resample(np.asarray(CANNY(smaller, **low)), 1024, 1536)
    assert np.array_equal(np.asarray(found), wanted)
    assert wanted.any()
    own = detected(CANNY, photo, Frame(), (1024, 1536), {**low, "resolution": 0})
    assert np.array_equal(np.asarray(own), np.asarray(CANNY(photo, **low)))
    assert not np.array_equal(np.asarray(own), wanted)


@given(
    st.integers(8, 256).map(lambda k: 8 * k), st.integers(8, 256).map(lambda k: 8 * k), st.integers(64, 2048)
)
def test_the_short_side_is_the_resolution(width: int, height: int, resolution: int) -> None:
    found = detection_size((width, height), resolution)
    assert abs(min(found) - resolution) <= 4
    assert all(side % 8 == 0 for side in found)
    assert abs(found[0] * height - found[1] * width) <= 4 * (width + height), (
        "the proportions, to half a cell"
    )


@pytest.mark.parametrize("value", [0, 64, 513, 2048])
def test_a_resolution_is_off_or_within_its_bounds(value: int) -> None:
    assert check_params({"resolution": value}, params_of(CANNY), "$")["resolution"] == value


@pytest.mark.parametrize("value", [1, 63, 2049, -64, 100.5, "512"])
def test_another_resolution_is_refused(value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        check_params({"resolution": value}, params_of(CANNY), "$")
    assert caught.value.path == "$.resolution"


def test_what_finds_nothing_has_no_resolution() -> None:
    detecting = {item.name for item in preprocessors() if RESOLUTION in params_of(item)}
    assert detecting == {item.name for item in preprocessors() if item.detects}
    assert {"canny", "instant_id_face_keypoints", "scribble_hed"} <= detecting
    assert not detecting & {"none", "invert", "color", "threshold", "tile_resample", "inpaint_only"}
    assert {item.name for item in preprocessors() if item.reads_map} == {"none", "invert"}
    with pytest.raises(RequestError, match="unknown parameter"):
        check_params({"resolution": 512}, params_of(INVERT), "$")


def test_the_tuner_looks_at_the_units_resolution_too() -> None:
    photo = drawing().resize((128, 128))
    fields = {
        "preprocessor": "canny",
        "params": {"low_threshold": 20, "high_threshold": 40, "resolution": 64},
    }
    unit = parse_request({"units": [{"model": "m", "image": encode_image(photo), **fields}]}).units[0]
    assert adherence(photo, unit, 0).values == {"adherence.0": 1.0}


# a part of the picture


@pytest.mark.parametrize("mode", MODES)
def test_a_part_is_what_lies_there_in_the_fitted_whole(mode: ResizeMode) -> None:
    photo = picture(70, 50, 2)
    crop = Crop(box=(10, 20, 74, 52), whole=(96, 80))
    part = Frame(mode, crop).fitted(photo, 64, 32, resample)
    whole = fit(photo, 96, 80, mode)
    assert part.tobytes() == whole.crop(crop.box).tobytes()
    larger = detected(CANNY, photo, Frame(mode, crop), (128, 64), {})
    enlarged = smooth(np.asarray(whole_of(photo, mode).crop(crop.box)), 128, 64)
    assert larger.tobytes() == CANNY(Image.fromarray(enlarged)).tobytes()


def whole_of(photo: Image.Image, mode: ResizeMode) -> Image.Image:
    """The fitted whole, as a picture."""
    return Frame(mode).fitted(photo, 96, 80, smooth)


def test_a_part_of_other_proportions_is_laid_as_the_webui_lays_it() -> None:
    """Its border is repeated above and below, or to both sides (modules/images.py, resize mode 2)."""
    rows = np.arange(80, dtype=np.uint8)[:, None, None].repeat(96, 1).repeat(3, 2)
    crop = Crop(box=(0, 0, 96, 80), whole=(96, 80))
    found = np.asarray(Frame("just_resize", crop).fitted(Image.fromarray(rows), 64, 64, smooth))[:, 0, 0]
    tall = 80 * 64 // 96
    top = 64 // 2 - tall // 2
    assert (top, tall) == (6, 53)
    assert set(found[: top + 1]) == {found[top]}
    assert set(found[top + tall - 1 :]) == {found[top + tall - 1]}
    assert found[top] <= 1
    assert found[top + tall - 1] >= 78
    assert (np.diff(found[top : top + tall].astype(int)) > 0).all()
