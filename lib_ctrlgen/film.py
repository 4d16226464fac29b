"""Pictures in a row, as a sheet and as an animation of even change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import HostError

SECONDS = 3.0
SHORTEST = 0.04  # seconds that a frame stays at least
FRAMES = 25  # per second, of an MP4
GUTTER = 2


def sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size as a sheet, row by row, with white lines between them."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    size = columns * (width + GUTTER) - GUTTER, rows * (height + GUTTER) - GUTTER
    whole = Image.new("RGB", size, "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        whole.paste(image.convert("RGB"), (column * (width + GUTTER), row * (height + GUTTER)))
    return whole


def difference(first: Image.Image, other: Image.Image) -> float:
    """How different two pictures look: mean CIE76 distance in CIELAB at a quarter of their size."""
    return float(np.linalg.norm(_lab(first) - _lab(other), axis=-1).mean())


def _lab(image: Image.Image) -> NDArray[np.float32]:
    small = image.convert("RGB").resize(
        (max(1, image.width // 4), max(1, image.height // 4)), Image.Resampling.BOX
    )
    return np.asarray(cv2.cvtColor(np.asarray(small, np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def durations(images: Sequence[Image.Image], seconds: float = SECONDS) -> tuple[float, ...]:
    """How long each picture stays, in seconds, so that the change per second is the same throughout.

    A picture stays as long as the step to the next one is large; the last one as the mean.
    """
    gaps = [difference(a, b) for a, b in pairwise(images)]
    total = sum(gaps)
    shares = [gap / total for gap in gaps] if total else [1 / max(1, len(gaps))] * len(gaps)
    shown = [max(SHORTEST, share * seconds) for share in shares]
    return (*shown, seconds / max(1, len(gaps)))


def save_animation(images: Sequence[Image.Image], path: Path) -> Path:
    """Write an animation, WebP or MP4 by the file's ending. Raises HostError when it cannot be written."""
    times = durations(images)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp4":
            _save_mp4(images, times, path)
        else:
            frames = [image.convert("RGB") for image in images]
            milliseconds = [round(1000 * time) for time in times]
            frames[0].save(
                path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, quality=90
            )
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _save_mp4(images: Sequence[Image.Image], times: Sequence[float], path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES, images[0].size)
    if not writer.isOpened():
        raise HostError(f"cannot write {path}: this OpenCV has no MP4 encoder; ask for webp")
    try:
        for image, time in zip(images, times, strict=True):
            frame = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
            for _ in range(max(1, round(time * FRAMES))):
                writer.write(frame)
    finally:
        writer.release()
