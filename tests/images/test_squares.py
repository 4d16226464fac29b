"""Squares and tiles that an image encoder sees, sharpening, and noise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.images.picture_noise import noised
from lib_ctrlgen.images.sharpen import sharpened
from lib_ctrlgen.images.squares import Grid, square_at
from tests.support.properties import examples


def ramp(width: int, height: int) -> Image.Image:
    """Red rises to the right, green to the bottom, by one a pixel."""
    values = np.zeros((height, width, 3), np.uint8)
    values[..., 0], values[..., 1] = np.arange(width)[None], np.arange(height)[:, None]
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("size", "position", "corner"),
    [
        ((60, 40), "left", (0, 0)),
        ((60, 40), "right", (20, 0)),
        ((60, 40), "top", (10, 0)),
        ((60, 40), "center", (10, 0)),
        ((40, 60), "top", (0, 0)),
        ((40, 60), "bottom", (0, 20)),
        ((40, 60), "right", (0, 10)),
    ],
)
def test_squares_of_a_picture(size: tuple[int, int], position: str, corner: tuple[int, int]) -> None:
    square = square_at(ramp(*size), position)
    assert square.size == (40, 40)
    assert square.getpixel((0, 0)) == (*corner, 0)


def test_a_padded_picture_is_whole() -> None:
    picture = ramp(60, 40)
    square = square_at(picture, "pad")
    assert square.crop((0, 10, 60, 50)).tobytes() == picture.tobytes()
    assert not np.asarray(square)[:10].any()
    assert not np.asarray(square)[50:].any()


@examples(30)
@given(st.integers(20, 200), st.integers(20, 200), st.integers(1, 16), st.integers(3, 20), st.integers(3, 20))
def test_shares_of_tiles_cover_every_cell_once(w: int, h: int, tiles: int, height: int, width: int) -> None:
    grid = Grid.of((w, h), tiles)
    if grid is None:
        assert tiles < 4
        return
    assert 2 <= grid.columns * grid.rows <= tiles
    shares = grid.shares(height, width)
    torch.testing.assert_close(shares.sum(0), torch.ones(height, width))
    assert shares.min() >= 0
    found = grid.cut(ramp(w, h), "center")
    assert len(found) == len(shares) == len(grid.masks)
    assert {tile.width - tile.height for tile in found} == {0}
    across = {pixel for tile in found for pixel in np.asarray(tile)[..., 0].flatten().tolist()}
    assert len(across) == max(across) - min(across) + 1, "no column is left out between tiles"
    assert torch.equal(grid.masks[1](height, width)[0, 0], shares[1])


def test_a_share_fades_where_tiles_overlap() -> None:
    grid = Grid.of((150, 100), 2)
    assert grid == Grid(2, 1, 1.5)
    first = grid.shares(1, 6)[0, 0]
    # the tiles end at 2/3 and begin at 1/3 of the width
    torch.testing.assert_close(first, torch.tensor([1, 1, 0.75, 0.25, 0, 0]))


def test_sharpening_is_contrast_adaptive() -> None:
    flat = Image.new("RGB", (6, 6), (90, 120, 30))
    assert sharpened(flat, 1.0).tobytes() == flat.tobytes()
    picture = ramp(8, 8).point(lambda value: value * 20)
    assert sharpened(picture, 0.0) is picture
    values = np.full((5, 5, 3), 100, np.uint8)
    values[2, 2] = 120
    found = np.asarray(sharpened(Image.fromarray(values), 1.0))
    # low and high are the sums of the extremes of the cross and of all nine pixels, in 0..1
    low, high, peak = 2 * 100 / 255, 2 * 120 / 255, -1 / 5
    weight = np.sqrt(min(low, 2 - high) / high) * peak
    wanted = (4 * weight * 100 + 120) / (1 + 4 * weight)
    assert found[2, 2].tolist() == [min(255, round(wanted))] * 3
    assert found[0, 0].tolist() == [100] * 3


@pytest.mark.parametrize("kind", ["fade", "dissolve", "gaussian", "shuffle"])
def test_noise_is_that_of_the_picture(kind: str) -> None:
    picture, other = ramp(32, 32), ramp(32, 32).rotate(90)
    found = [noised(each, kind, 0.5).tobytes() for each in (picture, picture, other)]
    assert found[0] == found[1] != found[2]
    if kind != "shuffle":
        assert noised(picture, kind, 0.0).tobytes() == picture.tobytes()


def test_shuffling_keeps_the_colours_and_not_the_layout() -> None:
    halves = Image.new("RGB", (32, 32), (200, 0, 0))
    halves.paste((0, 0, 200), (0, 0, 16, 32))
    found = np.asarray(noised(halves, "shuffle", 1.0), np.float32)
    assert abs(found[..., 0].mean() - 100) < 15
    assert found[:, :16, 0].std() > 40, "one colour before"
    with pytest.raises(ValueError, match="unknown kind"):
        noised(halves, "other", 1.0)
