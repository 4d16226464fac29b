"""A subject that the tiny model never saw: a ball with broad stripes of two colours.

The shapes of its training pictures have one colour each, so a striped shape is new to it, as a user's product
is to a published model. Needs only numpy, OpenCV and Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .data import training_scene
from .scenes import COLOURS, TEXTURES, Background, Scene, draw, random_scene
from .words import caption

SIZE = 128
STRIPES = 2.2  # periods over the ball's diameter
# Without white, which is what a ball is cut out on.
PAIRS = (
    ("yellow", "purple"),
    ("orange", "blue"),
    ("orange", "black"),
    ("yellow", "green"),
    ("yellow", "blue"),
)


@dataclass(frozen=True, kw_only=True)
class SubjectView:
    """A picture [128, 128, 3] of the ball, its mask [128, 128] of 0 and 255, and the background's colour."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    background: str

    @property
    def caption(self) -> str:
        """Everything but the stripes: as a user describes all but the product."""
        return subject_prompt(self.background)

    @property
    def cut_out(self) -> NDArray[np.uint8]:
        """The ball alone, on white."""
        return np.where(self.mask[..., None] > 0, self.picture, np.uint8(255))


def subject_prompt(background: str) -> str:
    """The caption of a view on a background of this colour."""
    return f"a circle on {'an' if background[0] in 'aeiou' else 'a'} {background} background"


def colours_of(seed: int) -> tuple[str, str]:
    """The two colours of the ball; five different balls."""
    return PAIRS[seed % len(PAIRS)]


def backgrounds_for(colours: tuple[str, str]) -> tuple[str, ...]:
    """The colours of the palette that the ball does not have."""
    return tuple(name for name in COLOURS if name not in colours)


def subject_views(seed: int, count: int = 12) -> tuple[SubjectView, ...]:
    """Views of the ball of a seed: each with its own place, size, angle and background."""
    rng, colours = np.random.default_rng(seed), colours_of(seed)
    names = backgrounds_for(colours)
    return tuple(_view(rng, colours, names[number % len(names)]) for number in range(count))


def _view(rng: np.random.Generator, colours: tuple[str, str], background: str) -> SubjectView:
    behind, _ = draw(Scene(shapes=(), background=_background(rng, background)), SIZE)
    centre = SIZE * (0.5 + rng.uniform(-0.1, 0.1, 2))
    radius, angle = SIZE * float(rng.uniform(0.27, 0.36)), float(rng.uniform(-0.3, 0.3))
    across, distance = _around(centre, radius, angle)
    inside = np.clip(radius * (1 - distance) + 0.5, 0, 1)[..., None]
    stripes = _smooth((np.cos(across * np.pi * STRIPES) > 0).astype(np.float32))[..., None]
    first, second = (np.array(COLOURS[name], np.float32) for name in colours)
    mixed = behind + inside * (second + stripes * (first - second) - behind)
    picture = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return SubjectView(picture=picture, mask=_mask(inside), background=background)


def _background(rng: np.random.Generator, colour: str) -> Background:
    drawn = random_scene(rng).background
    return replace(drawn, colour=colour, rgb=COLOURS[colour], texture=str(rng.choice(TEXTURES)))


def _around(centre: NDArray[np.float64], radius: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The coordinate across the stripes, and the distance from the centre, both 1 at the rim, [128, 128]."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    right, down = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    return right * np.cos(angle) + down * np.sin(angle), np.hypot(right, down)


def _smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 0.7), np.float32)


def _mask(inside: np.ndarray) -> NDArray[np.uint8]:
    return np.where(inside[..., 0] > 0.5, np.uint8(255), np.uint8(0))


def write_views(views: tuple[SubjectView, ...], folder: Path) -> None:
    """Write views as a user has them: `pictures/NN.png` with captions beside them, and `masks/NN.png`."""
    for name in ("pictures", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(views):
        Image.fromarray(view.picture).save(folder / f"pictures/{number:02}.png")
        Image.fromarray(view.mask).save(folder / f"masks/{number:02}.png")
        (folder / f"pictures/{number:02}.txt").write_text(view.caption + "\n", "utf-8")


def write_others(folder: Path, count: int, seed: int = 0) -> None:
    """Write pictures of other things with captions, for prior preservation: scenes as of the training."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        scene = training_scene(rng)
        Image.fromarray(draw(scene, SIZE)[0]).save(folder / f"{number:03}.png")
        (folder / f"{number:03}.txt").write_text(caption(scene, rng, looks=False) + "\n", "utf-8")
