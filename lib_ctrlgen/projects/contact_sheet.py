"""Contact sheets: the pictures of many results on pages, read from their files one after another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from lib_ctrlgen.files import save_bytes

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

MARGIN, GAP, TEXT = 40, 24, 46  # pixels; TEXT is the height of a tile's two lines
PAGE = 1600  # pixels of a page's width
PER_PAGE = 24
INK, SOFT, PAPER, FRAME = "#16191d", "#5b6470", "#ffffff", "#dfe3e8"
QUALITY = 90
FONTS = ("DejaVuSans.ttf", "Arial.ttf", "arial.ttf", "LiberationSans-Regular.ttf")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One result: its picture files side by side, its name, and a line about it."""

    pictures: tuple[Path, ...]
    title: str
    caption: str = ""


def contact_sheets(tiles: Sequence[Tile], title: str, stem: Path, columns: int = 0) -> tuple[Path, ...]:
    """Write the pages `STEM.jpg`, `STEM-2.jpg`, ... and remove further ones of an earlier run.

    A page has at most 24 tiles. Without `columns`, few tiles get few columns. Raises HostError.
    """
    pages = [tiles[at : at + PER_PAGE] for at in range(0, len(tiles), PER_PAGE)]
    written = []
    for number, page in enumerate(pages):
        name = stem.name if number == 0 else f"{stem.name}-{number + 1}"
        heading = title if len(pages) == 1 else f"{title}, page {number + 1} of {len(pages)}"
        data = io.BytesIO()
        contact_sheet(page, heading, columns).save(data, "JPEG", quality=QUALITY)
        written.append(save_bytes(data.getvalue(), stem.with_name(f"{name}.jpg")))
    for old in stem.parent.glob(f"{stem.name}-*.jpg"):
        if old not in written and old.stem.removeprefix(f"{stem.name}-").isdigit():
            old.unlink(missing_ok=True)
    return tuple(written)


def contact_sheet(tiles: Sequence[Tile], title: str, columns: int = 0) -> Image.Image:
    """One page; tiles fill its width. Pictures are fitted into equal frames and not cut."""
    across = columns or min(3, max(1, len(tiles)))
    each = max(len(tile.pictures) for tile in tiles)
    width = (PAGE - 2 * MARGIN - (across - 1) * GAP) // across
    frame = (width // each, round(width / each * _shape(tiles)))
    rows = -(-len(tiles) // across)
    height = MARGIN + 48 + rows * (frame[1] + TEXT + GAP) + MARGIN // 2
    page = Image.new("RGB", (PAGE, height), PAPER)
    draw = ImageDraw.Draw(page)
    write(draw, (MARGIN, MARGIN - 8), title, 24, INK)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        at = MARGIN + column * (width + GAP), MARGIN + 48 + row * (frame[1] + TEXT + GAP)
        _put(page, draw, tile, at, frame)
    return page


def _shape(tiles: Sequence[Tile]) -> float:
    """The largest ratio of height to width of the tiles' pictures, from their headers; at most 1.5."""
    ratios = []
    for tile in tiles:
        for path in tile.pictures:
            with Image.open(path) as picture:
                ratios.append(picture.height / picture.width)
    return min(1.5, max(ratios))


def _put(
    page: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], frame: tuple[int, int]
) -> None:
    """Draw one tile with its pictures, title and caption."""
    for number, path in enumerate(tile.pictures):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        scale = min(frame[0] / picture.width, frame[1] / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        filter_ = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
        left, top = at[0] + number * frame[0] + (frame[0] - size[0]) // 2, at[1] + (frame[1] - size[1]) // 2
        page.paste(picture.resize(size, filter_), (left, top))
    draw.rectangle((*at, at[0] + frame[0] * len(tile.pictures) - 1, at[1] + frame[1] - 1), outline=FRAME)
    write(draw, (at[0], at[1] + frame[1] + 5), tile.title, 16, INK, frame[0] * len(tile.pictures))
    write(draw, (at[0], at[1] + frame[1] + 26), tile.caption, 13, SOFT, frame[0] * len(tile.pictures))


def write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink: str, width: int = PAGE
) -> None:
    """Write a line, shortened to a width in pixels; letters that the font lacks are shown as `?`."""
    font = font_of(size)
    plain = (
        text
        if isinstance(font, ImageFont.FreeTypeFont)
        else text.encode("latin-1", "replace").decode("latin-1")
    )
    while plain and draw.textlength(plain, font) > width:
        plain = f"{plain.removesuffix('...')[:-1]}..." if len(plain) > 8 else plain[:-1]
    draw.text(at, plain, ink, font)


@lru_cache(maxsize=8)
def font_of(size: int) -> Font:
    """A common sans-serif font of the system in this size, or Pillow's own."""
    found = (_font(name, size) for name in FONTS)
    return next((font for font in found if font is not None), None) or ImageFont.load_default()


def _font(name: str, size: int) -> Font | None:
    with suppress(OSError):
        return ImageFont.truetype(name, size)
    return None
