"""Pictures that a blend makes of several: a map of weights, a strip, an animation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.animation import save_animation
from lib_ctrlgen.images.blend_sheets import blend_map, strip, trajectories
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.blend_map import map_size

# The attributes of `p` that are lists with one entry per picture.
PER_PICTURE = (
    "all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds",
    "all_hr_prompts", "all_hr_negative_prompts",
)  # fmt: skip


def spread_map(p: Any, blend: Blend | None) -> None:
    """Make each picture of a blend's map a batch of its own, with the same seed. Raises RequestError."""
    count = math.prod(map_size(blend))
    if count == 1:
        return
    if int(p.n_iter) * int(p.batch_size) != 1:
        raise RequestError("$.blend.explore", "a map starts from one picture: set batch count and size to 1")
    p.n_iter = count
    for name in PER_PICTURE:
        if getattr(p, name, None):
            setattr(p, name, list(getattr(p, name)) * count)


def sheets(p: Any, blend: Blend | None, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the map or the strips of a finished generation, and save its animation beside the pictures."""
    if blend is None or blend.explore:
        return blend_map(blend, images)
    batch = int(p.batch_size)
    found = trajectories(blend, images, batch)
    if blend.animation != "none":
        for number, pictures in enumerate(found):
            name = f"ctrlgen-{p.all_seeds[number * batch]}-{number}.{blend.animation}"
            save_animation(pictures, Path(p.outpath_samples) / name)
    return list(map(strip, found))
