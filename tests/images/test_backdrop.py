"""A subject is cut out of a picture whose background has one colour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.backdrop import subject_before
from tests.support.properties import examples


def packshot(backdrop: str = "#ffffff", subject: str = "#c01818", side: int = 96) -> Image.Image:
    """A square with a label of the backdrop's colour inside, and a handle beside it."""
    picture = Image.new("RGB", (side, side), backdrop)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((24, 24, 71, 71), fill=subject)
    draw.rectangle((40, 40, 55, 47), fill=backdrop)
    draw.rectangle((80, 30, 87, 65), fill=subject)
    return picture


def expected(side: int = 96) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[24:72, 24:72] = mask[30:66, 80:88] = True
    return mask


@pytest.mark.parametrize("backdrop", ["auto", "#ffffff", "#f4f6f8"])
def test_the_whole_subject_is_found_with_what_it_encloses(backdrop: str) -> None:
    noise = np.random.default_rng(0).integers(-6, 7, (96, 96, 3))
    shot = np.clip(np.asarray(packshot(), np.int64) + noise, 0, 255).astype(np.uint8)
    found = subject_before(Image.fromarray(shot), backdrop, "a.png")
    assert found.shape == (96, 96)
    assert float(np.abs((found > 0.5) ^ expected()).mean()) < 0.01


@examples(8)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_auto_finds_every_colour_that_is_far_from_the_subjects(colour: tuple[int, int, int]) -> None:
    name = "#" + bytes(colour).hex()
    other = "#ffffff" if sum(colour) < 380 else "#000000"
    assert np.array_equal(
        subject_before(packshot(name, other), "auto", "") > 0.5,
        subject_before(packshot(name, other), name, "") > 0.5,
    )


def test_large_pictures_are_searched_small_and_dust_is_no_subject() -> None:
    large = packshot().resize((2400, 1800), Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(4))
    ImageDraw.Draw(large).ellipse((40, 60, 60, 80), fill="#404040")
    found = subject_before(large, "auto", "")
    assert found.shape == (1800, 2400)
    assert found[:200].max() == 0
    assert float(found.mean()) == pytest.approx(float(expected().mean()), rel=0.05)


@pytest.mark.parametrize(
    ("picture", "backdrop", "said"),
    [
        (
            packshot("#20a020"),
            "#ffffff",
            "a.png: its border does not have the backdrop #ffffff (0% of it does",
        ),
        (packshot("#20a020"), "#ffffff", "of it is about #20a020): correct the colour"),
        (Image.effect_mandelbrot((96, 96), (-2, -1, 1, 1), 9).convert("RGB"), "auto", "several colours"),
        (Image.new("RGB", (96, 96), "white"), "auto", "before the backdrop auto would be 0.0% of it"),
    ],
)
def test_a_picture_without_the_backdrop_is_refused(picture: Image.Image, backdrop: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        subject_before(picture, backdrop, "a.png")
    assert said in str(caught.value)
