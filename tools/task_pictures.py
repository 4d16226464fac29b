"""Makes the pictures of README.md and of docs/tasks/ with the bundled tiny model.

`python tools/task_pictures.py` makes all of them, `python tools/task_pictures.py first fade` two.
Needs the set "latest" (Pillow with a font).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a program, without the package installed

from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from lib_ctrlgen.headless.engine import Engine  # noqa: E402
from lib_ctrlgen.images.files import encode_image  # noqa: E402
from lib_ctrlgen.models.bundled import tiny_folder  # noqa: E402
from lib_ctrlgen.preprocessors import preprocessors  # noqa: E402
from lib_ctrlgen.request.spec import GenerationRequest, parse_request  # noqa: E402

OUT = ROOT / "docs" / "images"
PICTURES = ROOT / "examples" / "pictures"
SIDE, GAP, LINE = 150, 14, 20
BASE: Mapping[str, Any] = {
    "model": "ctrlgen-tiny", "width": 128, "height": 128, "steps": 20, "cfg_scale": 4, "seed": 3,
}  # fmt: skip
FADE = "1@0 hold, 0@0.35"
CORNERS = [(20, 19), (79, 25), (72, 84), (14, 78)]  # of the sketch


@dataclass(frozen=True)
class Cell:
    """An RGB picture or what is added to BASE, the words below it, and whether it shows the sketch."""

    label: str
    made: Image.Image | Mapping[str, Any]
    outlined: bool = False


@dataclass(frozen=True)
class Row:
    """A heading and its cells."""

    heading: str
    cells: Sequence[Cell]


def example(name: str) -> Image.Image:
    """A picture of examples/pictures."""
    return Image.open(PICTURES / f"{name}.png").convert("RGB")


def square() -> Image.Image:
    """A sketch of a square that stands a little askew."""
    picture = Image.new("RGB", (128, 128), (235, 232, 228))
    ImageDraw.Draw(picture).polygon(CORNERS, fill=(240, 135, 25))
    return picture


def edges_map(picture: Image.Image) -> Image.Image:
    """The control map `canny` of a picture."""
    return next(each for each in preprocessors() if each.name == "canny")(picture)


def edges(picture: Image.Image, **fields: Any) -> dict[str, Any]:
    """A unit that keeps the edges of a picture."""
    return {
        "model": "ctrlgen-tiny-edges",
        "image": encode_image(picture),
        "preprocessor": "canny",
        **fields,
    }


def look(**fields: Any) -> dict[str, Any]:
    """A unit that takes the colours of a picture."""
    return {"model": "ctrlgen-tiny-ip", "image": encode_image(example("look")), **fields}


def star(**fields: Any) -> dict[str, Any]:
    """The request for a star where the square of the sketch is."""
    return {"prompt": "a red star on a blue background", "units": [edges(square(), **fields)]}


def halves() -> dict[str, Any]:
    """Two concepts, each in its half of the picture."""
    sides = {"a red circle on {prompt}": "left", "a blue square on {prompt}": "right"}
    concepts = [{"prompt": text, "mask": encode_image(example(name))} for text, name in sides.items()]
    blend = {"mode": "prediction", "normalise": True, "concepts": concepts}
    return {"prompt": "a white background", "seed": 1, "blend": blend}


def stacked() -> dict[str, Any]:
    """The layout of one picture with the look of another."""
    units = [edges(example("layout"), weight=0.8), look()]
    return {"prompt": "a cross on a background", "seed": 1, "units": units}


def rooms(background: str) -> dict[str, Any]:
    """The same cross in front of a background."""
    prompt = f"a blue cross on a {background} background"
    return {"prompt": prompt, "seed": 1, "units": [edges(example("layout"))]}


def stars(*weights: Any, **fields: Any) -> list[Cell]:
    """The request for a star with each of these weights."""
    return [Cell(str(weight), star(weight=weight, **fields), outlined=True) for weight in weights]


def crosses(*words: str) -> list[Cell]:
    """The same outline with each of these colours."""
    units = [edges(example("layout"))]
    return [Cell(text, {"prompt": f"a {text} background", "seed": 1, "units": units}) for text in words]


def sheets() -> dict[str, list[Row]]:
    """The sheets by file name."""
    cross, sketch = example("layout"), square()
    free = Cell("no control", {**star(), "units": []}, outlined=True)
    modes = [Cell(name, star(control_mode=name, weight=0.6)) for name in ("balanced", "prompt", "control")]
    both = [Cell("both", stacked()), Cell("a mask for each prompt", halves())]
    colours = crosses("blue cross on a yellow", "red cross on a white", "green cross on a purple")
    walls = [Cell(name, rooms(name)) for name in ("yellow", "red", "green", "white")]
    return {
        "first": [
            Row('"a red star on a blue background"', [Cell("a sketch", sketch), free, *stars(1, FADE)]),
            Row("several controls", [Cell("layout", cross), Cell("look", example("look")), *both]),
        ],
        "sketch": [
            Row("one sketch", [Cell("sketch", cross), Cell("control map", edges_map(cross)), *colours])
        ],
        "rooms": [Row("one product, many rooms", [Cell("product", cross), *walls])],
        "strength": [Row("weights", [Cell("sketch", sketch), *stars(0, 0.25, 0.5, 0.75, 1)])],
        "fade": [Row("place of the sketch", [Cell("sketch", sketch), *stars(1, 0.2, "1>0", FADE)])],
        "move": [Row("control modes", [Cell("picture", sketch), *modes])],
    }


def drawn(rows: Sequence[Row], engine: Engine) -> Image.Image:
    """A sheet: headings, and below each its pictures with their labels."""
    heading, small = (ImageFont.load_default(size) for size in (16, 12))
    columns, height = max(len(row.cells) for row in rows), LINE + 2 * GAP + SIDE + LINE
    sheet = Image.new("RGB", (GAP + columns * (SIDE + GAP), len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = number * height
        draw.text((GAP, top + 8), row.heading, "#111111", heading)
        for place, cell in enumerate(row.cells):
            left, down = GAP + place * (SIDE + GAP), top + LINE + GAP
            sheet.paste(made(cell, engine).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, down))
            draw.text((left, down + SIDE + 4), cell.label, "#4b5563", small)
    return sheet


def made(cell: Cell, engine: Engine) -> Image.Image:
    """A cell's picture, generated if it is a request."""
    if isinstance(cell.made, Image.Image):
        return cell.made
    picture = engine.generate(parse_request({**BASE, **cell.made}, GenerationRequest)).images[0]
    if cell.outlined:
        ImageDraw.Draw(picture).polygon(CORNERS, outline="white")
    return picture


def main() -> int:
    """Make the sheets that are named, or all."""
    engine, wanted = Engine([tiny_folder()]), sys.argv[1:]
    for name, rows in sheets().items():
        if not wanted or name in wanted:
            file = OUT / f"{name}.webp"
            drawn(rows, engine).save(file, quality=88, method=6)
            sys.stdout.write(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
