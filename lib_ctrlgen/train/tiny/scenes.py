"""Synthetic scenes: coloured shapes with depth on a textured background.

A scene is a few numbers, so that it can be drawn at any size, described in words, and drawn with another
layout and the same look. Needs only numpy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from lib_ctrlgen.images.metrics import PALETTE

Image = NDArray[np.uint8]
Field = NDArray[np.float32]
RGB = tuple[int, int, int]

COLOURS: Mapping[str, RGB] = PALETTE
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "striped", "checkered", "dotted", "noisy")

CONTRAST = 13.0  # half the contrast of a texture in grey levels: canny (100/200) does not find it


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A flat shape. `x` and `y` are in 0..1 of the picture, `radius` in 0..1 of its short side.

    `depth` goes from 0 (far) to 1 (near), `tilt` is the change of depth across one radius.
    """

    kind: str
    colour: str
    rgb: RGB
    x: float
    y: float
    radius: float
    angle: float
    depth: float
    tilt: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Background:
    """The background; `period` of its texture in pixels, `slope` the change of depth across it."""

    colour: str
    rgb: RGB
    texture: str
    period: float
    angle: float
    slope: tuple[float, float]
    noise_seed: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background and shapes, sorted from far to near."""

    shapes: tuple[Shape, ...]
    background: Background

    @property
    def across(self) -> tuple[Shape, ...]:
        """The shapes from left to right, the order of captions."""
        return tuple(sorted(self.shapes, key=lambda shape: shape.x))


def random_scene(rng: np.random.Generator, max_shapes: int = 2) -> Scene:
    """A random scene of 1..`max_shapes` shapes, all of different colours."""
    count = 1 if max_shapes == 1 or rng.random() < 0.6 else int(rng.integers(2, max_shapes + 1))
    names = [str(name) for name in rng.permutation(list(COLOURS))[: count + 1]]
    shapes = _place(rng, names[1:])
    background = _random_background(rng, names[0], str(rng.choice(TEXTURES)))
    return Scene(shapes=shapes, background=background)


def same_look(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene with another layout and the colours and texture of `scene`."""
    placed = _place(rng, [shape.colour for shape in scene.shapes])
    colours = {shape.colour: shape.rgb for shape in scene.shapes}
    shapes = tuple(replace(shape, rgb=colours[shape.colour]) for shape in placed)
    old = scene.background
    background = replace(_random_background(rng, old.colour, old.texture), rgb=old.rgb)
    return Scene(shapes=shapes, background=background)


def _place(rng: np.random.Generator, colours: list[str]) -> tuple[Shape, ...]:
    """Place shapes from left to right at about half height; far ones come first in the result."""
    slots = [(place + 0.5) / len(colours) for place in range(len(colours))]
    reach = 0.12 if len(colours) == 1 else 0.04
    placed = [
        _random_shape(rng, colour, slot + float(rng.uniform(-reach, reach)), len(colours))
        for colour, slot in zip(colours, slots, strict=True)
    ]
    return tuple(sorted(placed, key=lambda shape: shape.depth))


def _random_shape(rng: np.random.Generator, colour: str, x: float, crowd: int) -> Shape:
    tilt = rng.uniform(-0.15, 0.15, 2)
    return Shape(
        kind=str(rng.choice(SHAPES)),
        colour=colour,
        rgb=_jitter(rng, COLOURS[colour]),
        x=x,
        y=0.5 + float(rng.uniform(-0.13, 0.13)),
        radius=float(rng.uniform(0.27, 0.36) if crowd == 1 else rng.uniform(0.2, 0.25)),
        angle=float(rng.uniform(-0.2, 0.2)),
        depth=float(rng.uniform(0.5, 0.9)),
        tilt=(float(tilt[0]), float(tilt[1])),
    )


def _random_background(rng: np.random.Generator, colour: str, texture: str) -> Background:
    slope = rng.uniform(-0.12, 0.12, 2)
    return Background(
        colour=colour,
        rgb=_jitter(rng, COLOURS[colour]),
        texture=texture,
        period=float(rng.uniform(15, 21)),
        angle=float(rng.uniform(-0.8, 0.8)),
        slope=(float(slope[0]), float(slope[1])),
        noise_seed=int(rng.integers(2**31)),
    )


def _jitter(rng: np.random.Generator, rgb: RGB) -> RGB:
    red, green, blue = np.clip(np.array(rgb) + rng.integers(-6, 7, 3), 0, 255)
    return int(red), int(green), int(blue)


def draw(scene: Scene, size: int | tuple[int, int]) -> tuple[Image, Image]:
    """Draw a scene at `size` pixels (a side, or height and width).

    Returns the picture, uint8 [H, W, 3] RGB, and its depth, uint8 [H, W], nearer = brighter.
    """
    height, width = (size, size) if isinstance(size, int) else size
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    colour, depth = _draw_background(scene.background, grid_x, grid_y)
    for shape in scene.shapes:
        mask = _mask(shape, height, width)
        near = _shape_depth(shape, grid_x, grid_y)
        paint = _shade(near)[..., None] * np.array(shape.rgb, np.float32)
        colour = colour + mask[..., None] * (paint - colour)
        depth = depth + mask * (near - depth)
    return _to_bytes(colour), _to_bytes(255 * depth)


def _to_bytes(values: Field) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _shade(depth: Field) -> Field:
    """Make nearer parts brighter, so that depth is visible where edges do not show it."""
    return np.asarray(0.72 + 0.3 * depth, np.float32)


def _shape_depth(shape: Shape, grid_x: Field, grid_y: Field) -> Field:
    height, width = grid_x.shape
    radius = shape.radius * min(height, width)
    across = (grid_x - shape.x * width) / radius * shape.tilt[0]
    down = (grid_y - shape.y * height) / radius * shape.tilt[1]
    return np.asarray(np.clip(shape.depth + across + down, 0.4, 1), np.float32)


def _draw_background(back: Background, grid_x: Field, grid_y: Field) -> tuple[Field, Field]:
    height, width = grid_x.shape
    depth = 0.16 + back.slope[0] * (grid_x / width - 0.5) + back.slope[1] * (grid_y / height - 0.5)
    base = np.clip(np.array(back.rgb, np.float32), CONTRAST + 8, 255 - CONTRAST)
    texture = CONTRAST * TEXTURE_FIELDS[back.texture](back, grid_x, grid_y)
    colour = base * (0.9 + depth / 2)[..., None] + texture[..., None]
    return colour.astype(np.float32), depth.astype(np.float32)


def _turned(back: Background, grid_x: Field, grid_y: Field) -> tuple[Field, Field]:
    """Coordinates in periods of the background's texture, rotated by its angle."""
    cos, sin = np.cos(back.angle), np.sin(back.angle)
    along = (cos * grid_x + sin * grid_y) / back.period
    across = (cos * grid_y - sin * grid_x) / back.period
    return along.astype(np.float32), across.astype(np.float32)


def _plain(_back: Background, grid_x: Field, _grid_y: Field) -> Field:
    return np.zeros_like(grid_x)


def _striped(back: Background, grid_x: Field, grid_y: Field) -> Field:
    along, _ = _turned(back, grid_x, grid_y)
    return np.asarray(np.tanh(1.6 * np.sin(2 * np.pi * along)) / 0.92, np.float32)


def _checkered(back: Background, grid_x: Field, grid_y: Field) -> Field:
    along, across = _turned(back, grid_x / 1.5, grid_y / 1.5)
    waves = np.sin(2 * np.pi * along) * np.sin(2 * np.pi * across)
    return np.asarray(np.tanh(2.5 * waves), np.float32)


def _dotted(back: Background, grid_x: Field, grid_y: Field) -> Field:
    along, across = _turned(back, grid_x, grid_y)
    radius2 = (along % 1 - 0.5) ** 2 + (across % 1 - 0.5) ** 2
    return (2.6 * np.exp(-((radius2 / 0.055) ** 2)) - 0.6).astype(np.float32)


def _noisy(back: Background, grid_x: Field, _grid_y: Field) -> Field:
    rng = np.random.default_rng(back.noise_seed)
    noise = cv2.GaussianBlur(rng.standard_normal(grid_x.shape, dtype=np.float32), (0, 0), 2.2)
    return np.asarray(0.7 * noise / max(float(noise.std()), 1e-6), np.float32)


TEXTURE_FIELDS: Mapping[str, Callable[[Background, Field, Field], Field]] = MappingProxyType(
    {
        "plain": _plain,
        "striped": _striped,
        "checkered": _checkered,
        "dotted": _dotted,
        "noisy": _noisy,
    }
)


def _mask(shape: Shape, height: int, width: int) -> Field:
    """The shape's coverage in 0..1, float [H, W]."""
    side = min(height, width)
    centre = np.array([shape.x * width, shape.y * height])
    cos, sin = np.cos(shape.angle), np.sin(shape.angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    loops = [
        np.rint(16 * (centre + shape.radius * side * (loop @ turn))).astype(np.int32)
        for loop in outline(shape.kind)
    ]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, loops, (255,), lineType=cv2.LINE_AA, shift=4)
    return np.asarray(mask.astype(np.float32) / 255, np.float32)


def outline(kind: str) -> tuple[NDArray[np.float64], ...]:
    """The closed polygons [N, 2] of a shape with radius 1 around the origin, for even-odd filling."""
    if kind == "circle":
        return (_spokes(72, (1.0,)),)
    if kind == "square":
        return (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.84,)
    if kind == "triangle":
        return (_spokes(3, (1.15,)) + np.array([0, 0.15]),)
    if kind == "star":
        return (_spokes(10, (1.15, 0.48)),)
    if kind == "cross":
        a, b = 1.0, 0.34
        right = np.array([[b, -a], [b, -b], [a, -b]])
        quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
        turns = [right @ np.linalg.matrix_power(quarter, k) for k in range(4)]
        return (np.concatenate(turns),)
    if kind == "ring":
        return (_spokes(72, (1.0,)), _spokes(72, (0.5,)))
    raise ValueError(f"unknown shape {kind!r}; known: {', '.join(SHAPES)}")


def _spokes(count: int, radii: tuple[float, ...]) -> NDArray[np.float64]:
    """`count` points around the origin, the first one at the top, with the radii used in turn."""
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.resize(np.array(radii), count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
