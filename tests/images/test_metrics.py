"""The measures of similarity between images."""

import cv2
import numpy as np
import pytest

from lib_ctrlgen.images.metrics import (
    PALETTE,
    colour_likeness,
    edge_f1,
    edges,
    find_scene,
    find_shapes,
    prompt_accuracy,
    texture_likeness,
)


def disc(colour: str, ground: str, x: int = 64, radius: int = 30) -> np.ndarray:
    picture = np.full((128, 128, 3), PALETTE[ground], np.uint8)
    return cv2.circle(picture, (x, 64), radius, PALETTE[colour], -1, cv2.LINE_AA)


def stripes(angle: str) -> np.ndarray:
    wave = (12 * np.sin(np.arange(128) / 2.5)).astype(int) + 120
    plane = np.broadcast_to(wave if angle == "across" else wave[:, None], (128, 128))
    return np.repeat(plane[..., None], 3, 2).astype(np.uint8)


def test_edges_agree_within_the_tolerance_and_not_beyond() -> None:
    still = edges(disc("red", "blue"))
    assert edge_f1(disc("red", "blue"), still) == 1
    assert edge_f1(disc("red", "blue", x=65), still) > 0.95
    assert edge_f1(disc("red", "blue", x=65), still, tolerance=0) < 0.6
    assert edge_f1(disc("red", "blue", x=78), still) < 0.5


def test_missing_and_invented_edges_both_cost() -> None:
    blank = np.zeros((128, 128), np.uint8)
    plain = np.full((128, 128, 3), 90, np.uint8)
    still = edges(disc("red", "blue"))
    assert edge_f1(plain, blank) == 1
    assert edge_f1(plain, still) == edge_f1(disc("red", "blue"), blank) == 0
    twice = disc("red", "blue", radius=40)
    twice = cv2.circle(twice, (64, 64), 12, PALETTE["white"], -1)
    assert 0 < edge_f1(twice, edges(disc("red", "blue", radius=40))) < 0.9


@pytest.mark.parametrize("colour", PALETTE)
def test_colours_are_named(colour: str) -> None:
    ground = "white" if colour != "white" else "black"
    assert find_scene(disc(colour, ground)).background == ground
    assert find_shapes(disc(colour, ground)) == [(colour, "circle")]


def test_shade_does_not_change_a_colour_name() -> None:
    for dim in (0.75, 0.9, 1.05):
        shaded = np.clip(disc("green", "yellow") * dim, 0, 255).astype(np.uint8)
        assert find_scene(shaded).background == "yellow"
        assert find_shapes(shaded) == [("green", "circle")]


def test_accuracy_counts_every_part_once() -> None:
    picture = disc("red", "blue")
    assert prompt_accuracy(picture, [("red", "circle")], "blue") == 1
    assert prompt_accuracy(picture, [("red", "circle")], "green") == 0.5
    assert prompt_accuracy(picture, [("red", "star")], "green") == 0
    assert prompt_accuracy(picture, [("red", "circle"), ("red", "circle")], "blue") == pytest.approx(2 / 3)


def test_colour_likeness_is_about_shares_not_places() -> None:
    assert colour_likeness(disc("red", "blue", x=40), disc("red", "blue", x=90)) > 0.98
    assert colour_likeness(disc("red", "blue"), disc("white", "green")) < 0.02
    assert 0.5 < colour_likeness(disc("red", "blue"), disc("green", "blue")) < 0.9


def test_texture_likeness_tells_directions_apart() -> None:
    same = texture_likeness(stripes("across"), stripes("across") + np.uint8(20))
    assert same > 0.99
    assert texture_likeness(stripes("across"), stripes("down")) < 0.6
