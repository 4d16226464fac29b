"""Draws the unfinished sheet of a running tuner, for a host that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from .finished_cell import FinishedCell
from .sheet import labelled

TILE = 192  # pixels
RECENT = 8  # cells of a search, which has no grid


@dataclass
class LiveSheet:
    """The sheet of the cells that are finished so far.

    `columns` and `rows` name the grid's values, `titles` its two axes; a search has none of them.
    """

    folder: Path
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    titles: tuple[str, str] = ("", "")
    tiles: dict[str, Image.Image] = field(default_factory=dict)

    def draw(self, cells: Sequence[FinishedCell]) -> Image.Image:
        """Return the grid's layer that holds the newest cell; for a search, the newest cells."""
        if not self.columns:
            newest = cells[-RECENT:]
            tiles = {(k, 0): self.tile(each) for k, each in enumerate(newest)}
            return labelled(tiles, [", ".join(each.cell.shown) for each in newest], ("",), self.titles)
        layer = self.newest(cells).cell.coords[2:]
        places = {(*each.cell.coords, 0)[:2]: each for each in cells if each.cell.coords[2:] == layer}
        tiles = {(column, row): self.tile(each) for (column, row), each in places.items()}
        return labelled(tiles, self.columns, self.rows or ("",), self.titles)

    def newest(self, cells: Sequence[FinishedCell]) -> FinishedCell:
        """Return the first cell whose picture has not been drawn yet, else the last cell."""
        unseen = (each for each in cells if each.files and each.files[0] not in self.tiles)
        return next(unseen, cells[-1])

    def tile(self, cell: FinishedCell) -> Image.Image | str:
        """Return a cell's first picture as a thumbnail, or the error of a failed cell."""
        if cell.error or not cell.files:
            return cell.error or "failed"
        name = cell.files[0]
        if name not in self.tiles:
            picture = Image.open(self.folder / name).convert("RGB")
            picture.thumbnail((TILE, TILE))
            self.tiles[name] = picture
        return self.tiles[name]
