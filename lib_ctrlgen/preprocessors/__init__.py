"""Preprocessors. To add one: a file with a class, and a line in `PREPROCESSORS`."""

from __future__ import annotations

from lib_ctrlgen.errors import RequestError, nearest

from .base import Preprocessor
from .canny import Canny
from .color import ColorGrid
from .detection import detected, own_values, params_of
from .face_keypoints import FaceKeypoints
from .inpaint import Inpaint, InpaintLama, InpaintOnly
from .invert import Invert
from .none import NoPreprocessor
from .recolor import RecolorIntensity, RecolorLuminance
from .tile import TileColorFix, TileColorFixSharp, TileResample

__all__ = ["PREPROCESSORS", "Preprocessor", "detected", "own_values", "params_of", "preprocessor"]

PREPROCESSORS: tuple[Preprocessor, ...] = (
    NoPreprocessor(),
    Canny(),
    Invert(),
    ColorGrid(),
    FaceKeypoints(),
    Inpaint(),
    InpaintOnly(),
    InpaintLama(),
    TileResample(),
    TileColorFix(),
    TileColorFixSharp(),
    RecolorLuminance(),
    RecolorIntensity(),
)


def preprocessor(name: str, path: str = "") -> Preprocessor:
    """The preprocessor of that name. Raises RequestError at `path` that lists the nearest names."""
    by_name = {item.name: item for item in PREPROCESSORS}
    if name not in by_name:
        raise RequestError(path, f"unknown preprocessor {name!r}; {nearest(name, by_name)}")
    return by_name[name]
