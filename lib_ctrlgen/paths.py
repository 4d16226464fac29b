"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path


def expanded(name: str | Path) -> Path:
    """A path with `~` at its start as the home folder; one that names no user's home stays as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~$draft.png` is a file's name
        return Path(name)
