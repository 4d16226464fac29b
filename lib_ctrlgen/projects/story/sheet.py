"""Asset sheets: the pictures of a character in one style, places as rows and poses as columns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.projects.contact_sheet import FRAME, GAP, INK, MARGIN, PAGE, PAPER, QUALITY, SOFT, write

HEAD, SIDE = 28, 150  # pixels: the height of the columns' names, the width of the rows' names
LEAST, MOST = 96, 512  # pixels of a tile's width
MISSING = "not made yet"


@dataclass(frozen=True, kw_only=True)
class AssetSheet:
    """A grid of picture files at (row, column); those that are missing are left empty.

    shape  height / width of the pictures
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    files: Mapping[tuple[int, int], Path]
    shape: float

    def drawn(self) -> Image.Image:
        """The sheet. Without names of rows or columns their space is left out."""
        side, head = SIDE * any(self.rows), HEAD * any(self.columns)
        room = PAGE - 2 * MARGIN - side - (len(self.columns) - 1) * GAP
        width = max(LEAST, min(MOST, room // len(self.columns)))
        tile = width, round(width * self.shape)
        left, top = MARGIN + side, MARGIN + 40 + head
        across = left + len(self.columns) * (width + GAP) - GAP + MARGIN
        page = Image.new("RGB", (across, top + len(self.rows) * (tile[1] + GAP) - GAP + MARGIN), PAPER)
        draw = ImageDraw.Draw(page)
        write(draw, (MARGIN, MARGIN - 12), self.title, 24, INK, across - 2 * MARGIN)
        for column, name in enumerate(self.columns):
            write(draw, (left + column * (width + GAP), top - HEAD + 2), name, 16, INK, width)
        for row, name in enumerate(self.rows):
            at = top + row * (tile[1] + GAP)
            write(draw, (MARGIN, at + tile[1] // 2 - 10), name, 16, INK, SIDE - 12)
            for column in range(len(self.columns)):
                self._put(page, draw, (row, column), (left + column * (width + GAP), at), tile)
        return page

    def _put(
        self,
        page: Image.Image,
        draw: ImageDraw.ImageDraw,
        cell: tuple[int, int],
        at: tuple[int, int],
        tile: tuple[int, int],
    ) -> None:
        draw.rectangle((at[0] - 1, at[1] - 1, at[0] + tile[0], at[1] + tile[1]), outline=FRAME)
        if cell not in self.files:
            write(draw, (at[0] + 8, at[1] + 8), MISSING, 13, SOFT, tile[0] - 16)
            return
        with Image.open(self.files[cell]) as opened:
            page.paste(opened.convert("RGB").resize(tile, Image.Resampling.LANCZOS), at)


def save_sheet(sheet: AssetSheet, path: Path) -> Path:
    """Write a sheet as JPEG. Raises HostError."""
    data = io.BytesIO()
    sheet.drawn().save(data, "JPEG", quality=QUALITY)
    return save_bytes(data.getvalue(), path)
