"""A product to try the project with: the striped ball of `lib_ctrlgen.train.tiny.subject`, drawn."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.train.tiny.subject import subject_views, write_others, write_views

OTHERS = 40


def write_product(folder: Path, count: int, seed: int) -> list[Path]:
    """Write views of the ball of a seed, their masks and captions, and pictures of other things.

    Returns the views' paths.
    """
    write_views(subject_views(seed, count), folder)
    write_others(folder / "others", OTHERS)
    return sorted((folder / "pictures").glob("*.png"))
