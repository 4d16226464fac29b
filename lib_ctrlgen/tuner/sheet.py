"""Draws the labelled sheet of a grid, and the heat map of a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from lib_ctrlgen.plots import svg

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
    """A sheet of tiles at (column, row), with the labels and values of the axes.

    A failed cell is given as the text of its error; a cell that was not made yet is left out of `tiles`.
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


@dataclass(frozen=True)
class HeatTitle:
    """The captions of a heat map: the score, its direction, and the axes' names."""

    score: str
    way: str
    x: str = ""
    y: str = ""
    less: bool = False  # whether less of the score is better


def heat_map(
    title: HeatTitle, values: Mapping[Coords, float], columns: Sequence[str], rows: Sequence[str]
) -> str:
    """A score over two axes as an SVG in which the best cells are dark; cells without a value stay empty."""
    low, high = (min(values.values()), max(values.values())) if values else (0.0, 0.0)
    best, worst = (low, high) if title.less else (high, low)
    cells = "".join(
        _heat_cell(column, row, values.get((column, row)), worst, best)
        for row in range(len(rows))
        for column in range(len(columns))
    )
    heads = "".join(
        svg.text(130 + 70 * k, 66, _short(text, 11), anchor="middle", title=text)
        for k, text in enumerate(columns)
    )
    sides = "".join(
        svg.text(88, 92 + 30 * k, _short(text, 14), anchor="end", title=text) for k, text in enumerate(rows)
    )
    names = svg.text(96, 50, f"{title.x} \N{RIGHTWARDS ARROW}", bold=True)
    if title.y:
        names += svg.text(4, 66, _short(f"\N{DOWNWARDS ARROW} {title.y}", 16), bold=True, title=title.y)
    longest = max(len(title.score), len(f"{title.way}; dark is good"), len(title.x) + 18)
    width, height = max(100 + 70 * len(columns), 7 * longest), 78 + 30 * len(rows)
    head = svg.text(4, 14, title.score, bold=True) + svg.text(4, 30, f"{title.way}; dark is good")
    content = head + names + heads + sides + cells
    return svg.document(width, height, f"{title.score}, {title.way}", content)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _heat_cell(column: int, row: int, value: float | None, worst: float, best: float) -> str:
    box = f'x="{96 + 70 * column}" y="{74 + 30 * row}" width="68" height="28" rx="3"'
    if value is None:
        return f'<rect {box} fill="none" stroke="#8884"/>'
    share = (value - worst) / (best - worst) if best != worst else 0.0
    colour = "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(LEAST, MOST, strict=True))
    ink = "#fff" if share > 0.55 else "#111"
    text = svg.text(130 + 70 * column, 92 + 30 * row, f"{value:.3g}", anchor="middle", fill=ink)
    return f'<rect {box} fill="#{colour}"/>{text}'
