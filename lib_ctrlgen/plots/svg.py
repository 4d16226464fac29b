"""The SVG elements that all plots share.

>>> text(4, 14.26, "a < b", anchor="end")
'<text x="4" y="14.3" text-anchor="end">a &lt; b</text>'
"""

from __future__ import annotations

from html import escape


def number(value: float) -> str:
    """Return a coordinate with at most one digit after the point."""
    return f"{round(value, 1):g}"


def document(width: float, height: float, label: str, content: str, *, size: int = 11, name: str = "") -> str:
    """Return an SVG element of this size in pixels, whose accessible name is `label`.

    `size` is the font size, `name` the class of the element.
    """
    kind = f' class="{escape(name)}"' if name else ""
    wide, high = number(width), number(height)
    return (
        f'<svg{kind} xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}" role="img" aria-label="{escape(label)}" font-family="sans-serif" '
        f'font-size="{size}">{content}</svg>'
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    fill: str = "",
    bold: bool = False,
    rotated: bool = False,
    title: str = "",
) -> str:
    """Return a text at a position; `rotated` turns it to read upwards, `title` is its tooltip."""
    place = f'x="{number(x)}" y="{number(y)}"'
    place += f' text-anchor="{anchor}"' if anchor != "start" else ""
    place += f' fill="{fill}"' if fill else ""
    place += ' font-weight="bold"' if bold else ""
    place += f' transform="rotate(-90 {number(x)} {number(y)})"' if rotated else ""
    tooltip = f"<title>{escape(title)}</title>" if title else ""
    return f"<text {place}>{tooltip}{escape(content)}</text>"
