"""The library of recipes of this WebUI."""

from __future__ import annotations

from lib_ctrlgen.recipes.library import Library

from .settings import recipes_folder


def library() -> Library:
    """The library in the folder of the settings."""
    return Library(recipes_folder())
