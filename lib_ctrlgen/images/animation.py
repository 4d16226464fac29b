"""Sheets of several pictures, and animations (WebP or MP4) of a row of pictures."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import whole_file, whole_path

SECONDS = 0.2  # for each picture
FRAMES = 25  # per second, of an MP4
GUTTER = 2


def sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange pictures of one size in rows of `columns` pictures, with white lines between them."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    size = columns * (width + GUTTER) - GUTTER, rows * (height + GUTTER) - GUTTER
    whole = Image.new("RGB", size, "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        whole.paste(image.convert("RGB"), (column * (width + GUTTER), row * (height + GUTTER)))
    return whole


def save_animation(images: Sequence[Image.Image], path: Path) -> Path:
    """Write an animation: MP4 if the path ends in `.mp4`, else WebP.

    Raises HostError when it cannot be written; a file that was there before then stays.
    """
    if path.suffix == ".mp4":
        with whole_path(path) as part:
            _save_mp4(images, part)
    else:
        frames = [image.convert("RGB") for image in images]
        options = {"duration": round(1000 * SECONDS), "loop": 0, "quality": 90}
        with whole_file(path) as stream:
            frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], **options)
    return path


def _save_mp4(images: Sequence[Image.Image], path: Path) -> None:
    """Write an MP4, and count its frames: OpenCV reports no error when the disk is full."""
    repeats = round(SECONDS * FRAMES)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES, images[0].size)
    if not writer.isOpened():
        raise HostError("this OpenCV cannot write an MP4: ask for webp")
    try:
        for image in images:
            frame = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
            for _ in range(repeats):
                writer.write(frame)
    finally:
        writer.release()
    if path.is_file() and _frames(path) != repeats * len(images):
        raise OSError(errno.ENOSPC, "OpenCV wrote only a part of it (is the disk full?)")


def _frames(path: Path) -> int:
    """The number of frames of a video file, 0 if it cannot be read."""
    reader = cv2.VideoCapture(str(path))
    try:
        return int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() and reader.read()[0] else 0
    finally:
        reader.release()
