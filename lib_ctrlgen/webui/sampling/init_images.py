"""The img2img pictures of a generation of the WebUI."""

from __future__ import annotations

from typing import Any

from PIL import Image


def init_pictures(p: Any) -> tuple[Image.Image, ...]:
    """Return the img2img pictures of a generation, none for txt2img."""
    return tuple(getattr(p, "init_images", None) or ())


def picture_count(p: Any) -> int:
    """Return the number of pictures of a generation. Several img2img pictures are one batch."""
    given = len(getattr(p, "init_images", None) or ())
    size = int(p.batch_size)
    return int(p.n_iter) * (given if 1 < given <= size else size)
