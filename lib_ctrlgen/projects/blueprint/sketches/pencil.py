"""Draws strokes as a hand does: wavering, too long, often twice, with changing pressure; hatches areas."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from .strokes import Drawing, Points, Stroke

Field = NDArray[np.float32]

SHIFT = 4  # bits behind the point in OpenCV's coordinates
STEP = 4.0  # pixels between the points of a stroke
TWICE = 0.55  # the share of strokes that are drawn twice
HATCH = 0.3  # the pressure of hatching


def pencilled(drawing: Drawing, size: tuple[int, int], rng: np.random.Generator) -> Field:
    """The graphite on the paper, 0..1, [H, W]; `size` is width and height in pixels."""
    ink = np.zeros((size[1], size[0]), np.float32)
    scale, unit = np.array(size, np.float64), min(size)
    for area in drawing.shaded:
        ink = np.maximum(ink, hatched(area * scale, ink.shape, rng, unit))
    for stroke in drawing.strokes:
        for points, pressure in _passes(stroke, scale, rng, unit):
            _draw(ink, points, pressure, _width(stroke.weight, unit), rng)
    return ink


def true_lines(drawing: Drawing, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The exact lines, white on black, one pixel wide, [H, W]."""
    canvas, scale = np.zeros((size[1], size[0]), np.uint8), np.array(size, np.float64)
    for stroke in drawing.strokes:
        cv2.polylines(canvas, [_fixed(stroke.points * scale)], False, 255, 1, shift=SHIFT)
    return canvas


def _width(weight: float, unit: int) -> float:
    """The width of a line in pixels: a heavy one has 1/180 of the sheet's short side."""
    return max(1.0, unit / 180 * weight)


def _passes(
    stroke: Stroke, scale: Points, rng: np.random.Generator, unit: int
) -> Iterator[tuple[Points, float]]:
    """Each time that the pen draws a stroke: its points in pixels, and its pressure."""
    count = 1 + int(rng.random() < TWICE)
    for number in range(count):
        pressure = stroke.weight * float(rng.uniform(0.85, 1.0)) * (1.0 if number == 0 else 0.85)
        yield wavering(stroke.points * scale, rng, unit), 0.35 + 0.6 * pressure


def wavering(points: Points, rng: np.random.Generator, unit: int) -> Points:
    """A stroke as a hand draws it: displaced a little, longer than it should be, not quite straight."""
    ends = points.copy()
    ends[0] -= _towards(points[1] - points[0]) * unit * float(rng.uniform(-0.001, 0.012))
    ends[-1] += _towards(points[-1] - points[-2]) * unit * float(rng.uniform(-0.001, 0.012))
    ends = ends + rng.normal(0, 0.0011 * unit, (1, 2))
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ends, axis=0), axis=1))])
    places = np.linspace(0, lengths[-1], max(3, round(lengths[-1] / STEP)))
    dense = np.stack([np.interp(places, lengths, ends[:, axis]) for axis in (0, 1)], 1)
    return np.asarray(dense + _waver(len(dense), rng) * 0.0012 * unit, np.float64)


def _waver(count: int, rng: np.random.Generator) -> Points:
    """Slow displacements [N, 2] with standard deviation 1 or less, from a few random points."""
    knots = max(3, count // 12)
    at = np.linspace(0, knots - 1, count)
    return np.stack([np.interp(at, np.arange(knots), rng.normal(0, 1, knots)) for _ in range(2)], 1)


def _towards(step: Points) -> Points:
    return np.asarray(step / max(float(np.linalg.norm(step)), 1e-9), np.float64)


def _draw(ink: Field, points: Points, pressure: float, width: float, rng: np.random.Generator) -> None:
    """Add a stroke whose pressure rises and falls along it."""
    mask = np.zeros(ink.shape, np.uint8)
    parts = np.array_split(np.arange(len(points)), max(1, len(points) // 6))
    for part in parts:
        level = pressure * float(rng.uniform(0.85, 1.05))
        end = min(part[-1] + 2, len(points))
        piece = _fixed(points[part[0] : end])
        colour = int(np.clip(255 * level, 0, 255))
        cv2.polylines(mask, [piece], False, colour, max(1, round(width)), cv2.LINE_AA, SHIFT)
    np.maximum(ink, mask.astype(np.float32) / 255, out=ink)


def hatched(area: Points, shape: tuple[int, ...], rng: np.random.Generator, unit: int) -> Field:
    """An area filled with light parallel strokes and a smudge, 0..1, [H, W]."""
    inside, strokes = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    cv2.fillPoly(inside, [_fixed(area)], 255, cv2.LINE_AA, SHIFT)
    low, high = area.min(0), area.max(0)
    reach, gap = float((high - low).sum()), unit / 60
    for offset in np.arange(0, reach, gap):
        start = np.array([low[0] + offset, low[1]]) + rng.normal(0, gap / 6, 2)
        end = start + np.array([-1.0, 1.0]) * (high[1] - low[1])
        points = wavering(np.stack([start, end]), rng, unit // 3)
        _draw(strokes, points, HATCH * float(rng.uniform(0.7, 1.1)), unit / 400, rng)
    smudge = cv2.GaussianBlur(inside, (0, 0), unit / 80).astype(np.float32) / 255
    return np.asarray(np.maximum(strokes * (inside > 0), 0.1 * smudge), np.float32)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.asarray(np.rint(points * 2**SHIFT), np.int32)
