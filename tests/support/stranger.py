"""A folder as strangers have them: plans of all formats, and files that are none."""

from pathlib import Path

import numpy as np
from PIL import Image

from lib_ctrlgen.projects.blueprint.sketches.sketch import draw_sketch

ORIENTATION = 0x0112
SIDEWAYS = 6


def sketch(seed: int = 0) -> Image.Image:
    return Image.fromarray(draw_sketch(seed, size=(192, 144)).picture)


def write_folder(folder: Path) -> None:
    """Nine drawings of which each is special, a blank sheet, and six files that are no pictures."""
    below = folder / "level 1" / "east"
    below.mkdir(parents=True)
    (folder / ".hidden").mkdir()
    drawing = sketch()
    for path in (folder / "plan.png", folder / "plan.jpg", folder / "Plan.webp", below / "front.png"):
        drawing.save(path)
    drawing.convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(np.asarray(drawing.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    drawing.save(folder / "moving.gif", save_all=True, append_images=[sketch(1)])
    exif = Image.Exif()
    exif[ORIENTATION] = SIDEWAYS
    drawing.rotate(90, expand=True).save(folder / "phone.jpg", exif=exif)
    grey = drawing.convert("L")
    alpha = grey.point(lambda level: 255 - level if level < 140 else 0)
    Image.merge("RGBA", [Image.new("L", grey.size)] * 3 + [alpha]).save(folder / "glass.png")
    Image.new("RGB", (192, 144), "white").save(folder / "blank.png")
    (folder / ".hidden" / "x.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes((folder / "plan.png").read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    Image.new("RGBA", (64, 64)).save(folder / "invisible.png")
    Image.new("RGB", (8, 8)).save(folder / "small.png")
