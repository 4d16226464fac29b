"""Figures for pages: blocks of pictures and charts, one below another on a white card, as one SVG.

The card has its own background, so that a figure is readable on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import svg

WIDTH = 760.0
MARGIN, GAP, LINE = 14.0, 10.0, 16.0
INK, SOFT, RULE = "#1f2937", "#5b6472", "#d5d9e0"
LETTER = 6.4  # mean width of a character at the font size
SIZE = 12


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a figure: SVG elements drawn from (0, 0), and their size in pixels."""

    width: float
    height: float
    content: str


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A picture with lines of text below it.

    `url` is a data URL, empty for an empty place; `sharp` shows the picture's pixels as squares.
    """

    url: str
    caption: str = ""
    sharp: bool = False


def moved(content: str, x: float, y: float) -> str:
    """SVG elements at another place.

    >>> moved("<path/>", 3, 4.5)
    '<g transform="translate(3 4.5)"><path/></g>'
    """
    return f'<g transform="translate({svg.number(x)} {svg.number(y)})">{content}</g>'


def words(x: float, y: float, content: str, *, anchor: str = "start", soft: bool = False) -> str:
    """A line of text in the figure's colours."""
    return svg.text(x, y, content, anchor=anchor, fill=SOFT if soft else INK)


def heading(content: str) -> Block:
    """A line of bold text."""
    text = svg.text(0, 12, content, fill=INK, bold=True)
    return Block(width=LETTER * len(content), height=LINE, content=text)


def note(content: str, width: float = WIDTH - 2 * MARGIN) -> Block:
    """Text in as many lines as it needs."""
    lines = wrapped(content, int(width / (LETTER * 0.96)))
    text = "".join(words(0, 12 + LINE * k, line, soft=True) for k, line in enumerate(lines))
    return Block(width=width, height=LINE * len(lines), content=text)


def wrapped(content: str, length: int) -> list[str]:
    """Break a text at its line ends, and between words into lines of at most `length` characters.

    >>> wrapped("a red star on blue", 10)
    ['a red star', 'on blue']
    """
    lines: list[str] = []
    for part in content.split("\n"):
        line = ""
        for word in part.split(" "):
            joined = f"{line} {word}" if line else word
            if len(joined) > length and line:
                lines.append(line)
                joined = word
            line = joined
        lines.append(line)
    return lines


def tile_rows(rows: Sequence[tuple[str, Sequence[Tile]]], side: float, label: float = 0) -> Block:
    """Rows of pictures `side` pixels wide; each row has a name at its left, `label` pixels wide."""
    top, content = 0.0, ""
    for name, tiles in rows:
        height = side + max(_caption_height(tile, side) for tile in tiles)
        names = enumerate(wrapped(name, int(label / LETTER)) if name else [])
        content += "".join(words(0, top + 14 + LINE * k, line) for k, line in names)
        content += "".join(
            moved(_tile(tile, side), label + (side + GAP) * k, top) for k, tile in enumerate(tiles)
        )
        top += height + 6
    columns = max(len(tiles) for _, tiles in rows)
    return Block(width=label + columns * (side + GAP) - GAP, height=top - 6, content=content)


def _caption_height(tile: Tile, side: float) -> float:
    return LINE * len(wrapped(tile.caption, int(side / LETTER))) + 2 if tile.caption else 0


def _tile(tile: Tile, side: float) -> str:
    size = f'width="{svg.number(side)}" height="{svg.number(side)}"'
    style = ' style="image-rendering:pixelated"' if tile.sharp else ""
    picture = f'<image href="{tile.url}" {size}{style}/>' if tile.url else ""
    lines = enumerate(wrapped(tile.caption, int(side / LETTER)) if tile.caption else [])
    return picture + "".join(words(0, side + 13 + LINE * k, line, soft=True) for k, line in lines)


def beside(blocks: Sequence[Block], gap: float = 24) -> Block:
    """Blocks side by side."""
    left, content = 0.0, ""
    for block in blocks:
        content += moved(block.content, left, 0)
        left += block.width + gap
    return Block(width=left - gap, height=max(block.height for block in blocks), content=content)


def below(blocks: Sequence[Block], gap: float = GAP) -> Block:
    """Blocks one below another."""
    top, content = 0.0, ""
    for block in blocks:
        content += moved(block.content, 0, top)
        top += block.height + gap
    return Block(width=max(block.width for block in blocks), height=top - gap, content=content)


def card(label: str, blocks: Sequence[Block]) -> str:
    """The figure as an SVG: its blocks one below another on a card; `label` is its accessible name."""
    whole = below(blocks)
    width, height = max(WIDTH, whole.width + 2 * MARGIN), whole.height + 2 * MARGIN
    back = (
        f'<rect x="0.5" y="0.5" width="{svg.number(width - 1)}" height="{svg.number(height - 1)}" rx="8" '
        f'fill="#ffffff" stroke="{RULE}"/>'
    )
    content = back + moved(whole.content, MARGIN, MARGIN)
    return svg.document(width, height, label, content, size=SIZE, name="ctrlgen-figure")
