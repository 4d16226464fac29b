"""Draws the example's pictures with the generator of the tiny model's training data, without any model.

python examples/story/draw.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lib_ctrlgen.train.tiny.scenes import Background, Scene, Shape, draw

SIZE = 128
COLOURS = {"red": (214, 38, 38), "orange": (244, 140, 28), "blue": (44, 84, 214), "purple": (142, 52, 178)}
WHITE, BLACK = (238, 238, 238), (28, 28, 28)
STAR = Shape(
    kind="star",
    colour="black",
    rgb=BLACK,
    x=0.5,
    y=0.5,
    radius=0.3,
    angle=0.0,
    depth=0.8,
    tilt=(0.0, 0.0),
)
PLAIN = Background(
    colour="white",
    rgb=WHITE,
    texture="plain",
    period=18.0,
    angle=0.0,
    slope=(0.0, 0.0),
    noise_seed=0,
)
POSES = {
    "standing": replace(STAR, radius=0.32),
    "crouching": replace(STAR, y=0.66, radius=0.24),
    "leaping": replace(STAR, x=0.4, y=0.38, radius=0.3, angle=0.5),
}


def main(folder: Path) -> None:
    """Write the poses' lines, the depth of a place, and the mood board."""
    for name, shape in POSES.items():
        save(draw(Scene(shapes=(shape,), background=PLAIN), SIZE)[0], folder / "pictures" / f"{name}.png")
    hill = replace(PLAIN, slope=(0.0, 0.3))
    save(draw(Scene(shapes=(), background=hill), SIZE)[1], folder / "pictures" / "hill-depth.png")
    for number, (shape, ground) in enumerate((("orange", "purple"), ("orange", "purple"))):
        texture = ("plain", "striped")[number]
        back = replace(PLAIN, colour=ground, rgb=COLOURS[ground], texture=texture)
        front = replace(STAR, kind=("circle", "ring")[number], colour=shape, rgb=COLOURS[shape])
        save(
            draw(Scene(shapes=(front,), background=back), SIZE)[0],
            folder / "board" / f"dusk-{number + 1}.png",
        )


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
