"""Pictures in a row, as a sheet and as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import whole_path

SECONDS = 0.2  # that a picture stays
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


def save_animation(images: Sequence[Image.Image], path: Path) -> Path:
    """Write an animation, WebP or MP4 by the file's ending. Raises HostError when it cannot be written."""
    with whole_path(path) as part:
        if path.suffix == ".mp4":
            _save_mp4(images, part)
        else:
            frames = [image.convert("RGB") for image in images]
            milliseconds = round(1000 * SECONDS)
            frames[0].save(
                part, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, quality=90
            )
    return path


def _save_mp4(images: Sequence[Image.Image], path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES, images[0].size)
    if not writer.isOpened():
        raise HostError("this OpenCV cannot write an MP4: ask for webp")
    try:
        for image in images:
            frame = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
            for _ in range(round(SECONDS * FRAMES)):
                writer.write(frame)
    finally:
        writer.release()
