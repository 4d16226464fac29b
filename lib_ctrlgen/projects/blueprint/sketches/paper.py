"""Paper with fibres, stains and a printed grid, scanned: tilted, unevenly lit, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .pencil import Field

Image = NDArray[np.uint8]

GRAPHITE = np.array([52, 54, 62], np.float32)
PAPERS = ((246, 242, 230), (240, 236, 226), (236, 226, 202), (244, 244, 242))
GRID = np.array([150, 190, 215], np.float32)
DESK = (206, 200, 192)  # what the scanner sees beside the sheet


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How a sheet was scanned.

    tilt      degrees, counterclockwise
    fall_off  how much darker the darkest corner is, 0..1
    grid      whether the paper has a printed grid
    """

    tilt: float
    fall_off: float
    grid: bool


def random_scan(rng: np.random.Generator) -> Scan:
    """A tilt of at most two degrees, a fall-off of light of 8 to 30 %."""
    return Scan(
        tilt=float(rng.uniform(-2, 2)), fall_off=float(rng.uniform(0.08, 0.3)), grid=bool(rng.random() < 0.4)
    )


def on_paper(ink: Field, scan: Scan, rng: np.random.Generator) -> Image:
    """A scan of graphite on paper, RGB [H, W, 3]; `ink` is 0..1, [H, W]."""
    height, width = ink.shape
    sheet = _paper(height, width, scan, rng)
    grain = 1 - 0.35 * np.clip(_noise(height, width, 0.8, rng), 0, 1.5)
    coverage = np.clip(ink * grain, 0, 1)[..., None]
    sheet = sheet + coverage * (GRAPHITE - sheet)
    tilted = rotated(sheet, scan.tilt, DESK)
    lit = tilted * _light(height, width, scan.fall_off, rng)[..., None]
    lit += rng.normal(0, 2.0, (height, width, 1))
    return np.clip(np.rint(cv2.GaussianBlur(lit, (0, 0), 0.6)), 0, 255).astype(np.uint8)


def rotated(
    picture: NDArray[np.float32] | Image, degrees: float, border: tuple[int, int, int] | int
) -> NDArray[np.float32]:
    """A picture rotated counterclockwise about its centre, its size unchanged."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(
        cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=border), np.float32
    )


def _paper(height: int, width: int, scan: Scan, rng: np.random.Generator) -> NDArray[np.float32]:
    """A blank sheet, RGB in 0..255, [H, W, 3]."""
    tone = np.array(PAPERS[int(rng.integers(len(PAPERS)))], np.float32)
    fibres = 2.2 * _noise(height, width, 1.2, rng) + 2.5 * _noise(height, width, max(height, width) / 30, rng)
    sheet = tone + fibres[..., None]
    if scan.grid:
        cells = max(8, min(height, width) // 28)
        rows = (np.arange(height) % cells == 0)[:, None] | (np.arange(width) % cells == 0)[None]
        sheet = np.where(rows[..., None], 0.55 * sheet + 0.45 * GRID, sheet)
    return np.asarray(sheet - 14 * _stain(height, width, rng)[..., None], np.float32)


def _stain(height: int, width: int, rng: np.random.Generator) -> Field:
    """A soft ring as of a cup, 0..1, in one of three sheets."""
    if rng.random() > 1 / 3:
        return np.zeros((height, width), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre, radius = (
        rng.uniform(0.1, 0.9, 2) * (width, height),
        min(height, width) * float(rng.uniform(0.1, 0.2)),
    )
    distance = np.hypot(x - centre[0], y - centre[1])
    return np.asarray(np.exp(-(((distance - radius) / (0.06 * radius)) ** 2)), np.float32)


def _light(height: int, width: int, fall_off: float, rng: np.random.Generator) -> Field:
    """The brightness of the lamp, 1 at its brightest place, 1 - `fall_off` far from it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    lamp = rng.uniform(0.2, 0.8, 2)
    far = np.hypot(x / width - lamp[0], y / height - lamp[1])
    return np.asarray(1 - fall_off * np.clip(far / 1.1, 0, 1) ** 1.5, np.float32)


def _noise(height: int, width: int, wave: float, rng: np.random.Generator) -> Field:
    """Gaussian noise with standard deviation 1, blurred by `wave` pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), wave)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)
