"""Captions of scenes; attributes are left out at random, so that the others keep their meaning."""

from __future__ import annotations

import numpy as np

from .scenes import Background, Scene, Shape

OPENINGS = ("", "", "", "", "a picture of ", "a drawing of ", "an image of ")
JOINTS = (" and ", " and ", " next to ")
PLAIN_PLACES = ("background", "background", "background", "ground", "backdrop")
STYLES = {
    "striped": "with stripes",
    "checkered": "with a checkered pattern",
    "dotted": "with dots",
    "noisy": "with noise",
    "plain": "without a pattern",
}


def caption(scene: Scene, rng: np.random.Generator, drop: float = 0.1, looks: bool = True) -> str:
    """Describe a scene from left to right; each attribute is left out with probability `drop`.

    Without `looks`, colours and textures are never named (for training on reference pictures).
    """
    hide = drop if looks else 1.0
    shapes = [_shape_words(shape, rng, hide, drop) for shape in scene.across]
    text = str(rng.choice(OPENINGS)) + str(rng.choice(JOINTS)).join(shapes)
    if rng.random() < drop:
        return text
    return f"{text} on {_background_words(scene.background, rng, hide)}"


def full_caption(scene: Scene) -> str:
    """The complete description of a scene."""
    shapes = [_article(f"{shape.colour} {shape.kind}") for shape in scene.across]
    back = scene.background
    texture = "" if back.texture == "plain" else f"{back.texture} "
    place = _article(f"{back.colour} {texture}background")
    return f"{' and '.join(shapes)} on {place}"


def _shape_words(shape: Shape, rng: np.random.Generator, hide: float, drop: float) -> str:
    kind = "shape" if rng.random() < drop / 2 else shape.kind
    return _article(kind if rng.random() < hide else f"{shape.colour} {kind}")


def _background_words(back: Background, rng: np.random.Generator, hide: float) -> str:
    colour = "" if rng.random() < hide else f"{back.colour} "
    place = str(rng.choice(PLAIN_PLACES))
    if rng.random() < hide:
        return _article(f"{colour}{place}")
    if rng.random() < 0.25:
        return f"{_article(f'{colour}{place}')} {STYLES[back.texture]}"
    if back.texture == "plain" and rng.random() < 0.7:
        return _article(f"{colour}{place}")
    return _article(f"{colour}{back.texture} {place}")


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
