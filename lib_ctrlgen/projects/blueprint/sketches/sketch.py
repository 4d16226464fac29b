"""A hand-drawn sheet from a seed: the scan, and what it truly shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.files import save_picture

from .elevations import random_elevation
from .paper import Scan, on_paper, random_scan
from .pencil import pencilled, true_lines
from .plans import random_plan
from .strokes import Drawing, Kind

SIZE = (768, 576)


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A hand-drawn sheet.

    picture  the scan, RGB [H, W, 3]
    lines    the exact lines before the sheet was tilted, white on black, one pixel wide, [H, W]
    """

    drawing: Drawing
    scan: Scan
    picture: NDArray[np.uint8]
    lines: NDArray[np.uint8]


def draw_sketch(seed: int, kind: Kind | None = None, size: tuple[int, int] = SIZE) -> Sketch:
    """The sketch of a seed: equal seeds, kinds and sizes give equal sketches.

    Without `kind`, even seeds are plans and odd ones elevations. `size` is width and height in pixels.
    """
    rng = np.random.default_rng(seed)
    chosen: Kind = kind or ("elevation" if seed % 2 else "plan")
    drawing = random_plan(rng) if chosen == "plan" else random_elevation(rng)
    scan = random_scan(rng)
    picture = on_paper(pencilled(drawing, size, rng), scan, rng)
    return Sketch(drawing=drawing, scan=scan, picture=picture, lines=true_lines(drawing, size))


def save_sketches(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> tuple[Path, ...]:
    """Write sketches into a folder as `plan-0.png`, `elevation-1.png`, ... Raises HostError."""
    written = []
    for number in range(seed, seed + count):
        sketch = draw_sketch(number, size=size)
        name = f"{sketch.drawing.kind}-{number}.png"
        written.append(save_picture(Image.fromarray(sketch.picture), folder / name))
    return tuple(written)
