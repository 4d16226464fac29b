"""Cuts pictures into the squares that an image encoder sees: a position, or tiles with soft shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isqrt

import torch
from PIL import Image
from torch import Tensor

NEAR_SQUARE = (0.75, 1.33)  # width / height of pictures that are cut into rows and columns


def square_at(picture: Image.Image, position: str) -> Image.Image:
    """The largest square of a picture at `top`, `bottom`, `left`, `right` or `center`.

    For `pad` it is the whole picture on a black square. A position along the shorter side changes nothing.

    >>> square_at(Image.new("RGB", (30, 20)), "left").size, square_at(Image.new("RGB", (30, 20)), "pad").size
    ((20, 20), (30, 30))
    """
    if position == "pad":
        side = max(picture.size)
        padded = Image.new("RGB", (side, side))
        padded.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return padded
    side = min(picture.size)
    return _cropped(picture, side, side, position)


def _cropped(picture: Image.Image, width: int, height: int, position: str) -> Image.Image:
    right, bottom = picture.width - width, picture.height - height
    left = {"left": 0, "right": right}.get(position, right // 2)
    top = {"top": 0, "bottom": bottom}.get(position, bottom // 2)
    return picture.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Grid:
    """How a picture is cut into square tiles: their numbers, and the width of what is cut over its height.

    >>> Grid.of((300, 100), 4), Grid.of((900, 100), 4)
    (Grid(columns=3, rows=1, aspect=3.0), Grid(columns=4, rows=1, aspect=4.0))
    >>> Grid.of((110, 100), 4), Grid.of((300, 100), 1)
    (Grid(columns=2, rows=2, aspect=1.0), None)
    """

    columns: int
    rows: int
    aspect: float

    @staticmethod
    def of(size: tuple[int, int], tiles: int) -> Grid | None:
        """The grid for a picture of this width and height with at most `tiles` tiles; None if it is not cut.

        A picture that is almost square is cut into n x n tiles of its centre square, another one along its
        long side into overlapping squares; more than `tiles` of them are limited to the middle.
        """
        aspect = size[0] / size[1]
        low, high = NEAR_SQUARE
        if low < aspect < high:
            count = isqrt(tiles)
            return Grid(count, count, 1.0) if count > 1 else None
        long = max(aspect, 1 / aspect)
        count = min(tiles, ceil(long))
        if count < 2:
            return None
        long = min(long, float(count))
        return Grid(count, 1, long) if aspect > 1 else Grid(1, count, 1 / long)

    def cut(self, picture: Image.Image, position: str) -> tuple[Image.Image, ...]:
        """The tiles of a picture, row by row; what does not fit the grid is cropped at `position`."""
        width = min(picture.width, max(1, round(picture.height * self.aspect)))
        height = min(picture.height, max(1, round(picture.width / self.aspect)))
        whole = _cropped(picture, width, height, position)
        side = min(width, height)
        if self.columns > 1 and self.rows > 1:
            side = ceil(side / self.columns)
        corners = [
            (_start(column, self.columns, width, side), _start(row, self.rows, height, side))
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return tuple(whole.crop((left, top, left + side, top + side)) for left, top in corners)

    def shares(self, height: int, width: int) -> Tensor:
        """The soft masks [tiles, h, w] of the tiles' shares: their sum is 1, and overlaps cross-fade."""
        side = (min(1.0, 1 / self.aspect), min(1.0, self.aspect))
        if self.columns > 1 and self.rows > 1:
            side = (1 / self.columns, 1 / self.rows)
        across, down = _profile(self.columns, side[0], width), _profile(self.rows, side[1], height)
        return (down[:, None, :, None] * across[None, :, None, :]).reshape(-1, height, width)

    @property
    def masks(self) -> tuple[Callable[[int, int], Tensor], ...]:
        """For each tile a function of a latent's height and width that returns its share, [1, 1, h, w]."""
        count = self.columns * self.rows
        return tuple(
            lambda height, width, tile=tile: self.shares(height, width)[tile][None, None]
            for tile in range(count)
        )


def _start(number: int, count: int, length: int, side: int) -> int:
    return round(number * (length - side) / max(1, count - 1))


def _profile(count: int, side: float, cells: int) -> Tensor:
    """The share [count, cells] of each of `count` intervals of length `side`, evenly spread over 0..1."""
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    step = (1 - side) / max(1, count - 1)
    overlap = side - step
    passed = [
        torch.ones(cells, dtype=torch.float64)
    ]  # how far each cell is beyond the start of each interval
    for number in range(1, count):
        beyond = centres - number * step
        passed.append((beyond / overlap).clamp(0, 1) if overlap > 1e-6 else (beyond >= 0).double())
    passed.append(torch.zeros(cells, dtype=torch.float64))
    return torch.stack([own - later for own, later in pairwise(passed)]).float()
