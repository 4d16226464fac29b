"""Lines that a rendering kept, lost and invented."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.images.metrics import edge_f1
from lib_ctrlgen.projects.blueprint.kept_lines import INVENTED, KEPT, LOST, kept_lines, overlay, tolerance_of

SIZE = 96


def square(at: int, side: int = 40) -> tuple[Image.Image, np.ndarray]:
    """A white square on black, and its outline."""
    pixels, lines = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    cv2.rectangle(pixels, (at, at), (at + side, at + side), (255, 255, 255), -1)
    cv2.rectangle(lines, (at, at), (at + side, at + side), 255, 1)
    return Image.fromarray(pixels), lines > 0


@given(st.integers(4, 40))
def test_the_numbers_are_those_of_edge_f1(at: int) -> None:
    picture, _ = square(20)
    _, lines = square(at)
    found = kept_lines(picture, lines)
    wanted = edge_f1(np.asarray(picture), lines.astype(np.uint8) * 255)
    assert found.f1 == pytest.approx(wanted)
    assert int(found.kept.sum() + found.lost.sum()) == int(lines.sum())


def test_a_rendering_that_shows_the_lines_and_more() -> None:
    picture, lines = square(20)
    assert kept_lines(picture, lines).numbers == {"f1": 1.0, "recall": 1.0, "precision": 1.0}
    more = np.asarray(picture).copy()
    more[70:90, 70:90] = (0, 255, 0)
    found = kept_lines(Image.fromarray(more), lines)
    assert found.recall == 1
    assert found.precision < 0.8
    assert found.invented[60:].any()


def test_a_rendering_without_lines_lost_all() -> None:
    _, lines = square(20)
    found = kept_lines(Image.new("RGB", (SIZE, SIZE)), lines)
    assert (found.f1, found.recall, found.precision) == (0, 0, 0)
    assert np.array_equal(found.lost, lines)


def test_the_overlay_has_a_colour_for_each() -> None:
    picture, _ = square(20)
    _, lines = square(38)
    shown = overlay(picture, kept_lines(picture, lines))
    assert shown.width >= 512
    colours = {tuple(each) for each in np.asarray(shown).reshape(-1, 3).tolist()}
    assert {KEPT, LOST, INVENTED} <= colours


@pytest.mark.parametrize(("size", "wanted"), [((64, 64), 2), ((512, 384), 2), ((1024, 768), 4)])
def test_the_tolerance_grows_with_the_size(size: tuple[int, int], wanted: int) -> None:
    assert tolerance_of(size) == wanted
