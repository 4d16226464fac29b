"""The tuner's pictures: the labelled sheet of a grid, and a heat map of a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image, ImageDraw, ImageFont

GAP = 4
LINE = 16  # pixels of a line of text
LEAST, MOST = (238, 244, 255), (29, 78, 216)

Coords = tuple[int, int]


def labelled(
    tiles: Mapping[Coords, Image.Image | str],
    columns: Sequence[str],
    rows: Sequence[str],
    titles: tuple[str, str],
) -> Image.Image:
    """A sheet of tiles at (column, row), the axes' titles and values beside it.

    A text in a tile's place is a failure; a place without a tile has not been made yet.
    """
    width, height = next((t.size for t in tiles.values() if isinstance(t, Image.Image)), (128, 128))
    font = ImageFont.load_default()
    left = max([60, *(round(font.getlength(text)) + 2 * GAP for text in (*rows, titles[1]))])
    top = 2 * LINE + GAP
    size = left + len(columns) * (width + GAP), top + len(rows) * (height + GAP)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    draw.text((left, 1), titles[0], "black", font)
    draw.text((GAP, LINE), titles[1], "black", font)
    for column, text in enumerate(columns):
        draw.text((left + column * (width + GAP), LINE), text, "black", font)
    for row, text in enumerate(rows):
        draw.text((GAP, top + row * (height + GAP) + height // 2 - LINE // 2), text, "black", font)
        for column in range(len(columns)):
            at = left + column * (width + GAP), top + row * (height + GAP)
            _tile(whole, draw, tiles.get((column, row), ""), at, (width, height))
    return whole


def _tile(
    whole: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Image.Image | str,
    at: tuple[int, int],
    size: tuple[int, int],
) -> None:
    if isinstance(tile, Image.Image):
        whole.paste(tile.convert("RGB"), at)
        return
    box = (*at, at[0] + size[0] - 1, at[1] + size[1] - 1)
    draw.rectangle(box, fill="#fee2e2" if tile else "#f3f4f6", outline="#d1d5db")
    words, line = tile.split(), ""
    lines = []
    for word in words:
        line = f"{line} {word}".strip()
        if len(line) * 6 > size[0] - 2 * GAP:
            lines.append(line)
            line = ""
    text = "\n".join([*lines, line][: size[1] // LINE])
    draw.multiline_text((at[0] + GAP, at[1] + GAP), text, "#7f1d1d")


def heat_map(name: str, values: Mapping[Coords, float], columns: Sequence[str], rows: Sequence[str]) -> str:
    """A score over two axes as a self-contained SVG; a place without a value stays empty."""
    low, high = (min(values.values()), max(values.values())) if values else (0.0, 0.0)
    cells = "".join(
        _heat_cell(column, row, values.get((column, row)), low, high)
        for row in range(len(rows))
        for column in range(len(columns))
    )
    heads = "".join(
        f'<text x="{130 + 70 * k}" y="34" text-anchor="middle">{escape(text[:11])}</text>'
        for k, text in enumerate(columns)
    )
    sides = "".join(
        f'<text x="88" y="{60 + 30 * k}" text-anchor="end">{escape(text[:14])}</text>'
        for k, text in enumerate(rows)
    )
    width, height = 100 + 70 * len(columns), 46 + 30 * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11" role="img" aria-label="{escape(name)}">'
        f'<text x="4" y="14" font-weight="bold">{escape(name)}</text>{heads}{sides}{cells}</svg>'
    )


def _heat_cell(column: int, row: int, value: float | None, low: float, high: float) -> str:
    box = f'x="{96 + 70 * column}" y="{42 + 30 * row}" width="68" height="28" rx="3"'
    if value is None:
        return f'<rect {box} fill="none" stroke="#8884"/>'
    share = (value - low) / (high - low) if high > low else 1.0
    colour = "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(LEAST, MOST, strict=True))
    ink = "#fff" if share > 0.55 else "#111"
    text = f'x="{130 + 70 * column}" y="{60 + 30 * row}" text-anchor="middle" fill="{ink}"'
    return f'<rect {box} fill="#{colour}"/><text {text}>{value:.3g}</text>'
