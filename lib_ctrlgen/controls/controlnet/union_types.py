"""The types of maps that a ControlNet Union knows, and which preprocessor makes which.

The numbers are xinsir's; the last two are ProMax's.
"""

from __future__ import annotations

AUTO = "auto"
_NUMBERS = {
    "openpose": 0,
    "depth": 1,
    "hed": 2,
    "pidi": 2,
    "scribble": 2,
    "canny": 3,
    "lineart": 3,
    "mlsd": 3,
    "normal": 4,
    "segment": 5,
    "tile": 6,
    "inpaint": 7,
    "repaint": 7,
}
CHOICES = (AUTO, *_NUMBERS)
_BEGINNINGS = {
    "openpose": "openpose",
    "dw_openpose": "openpose",
    "depth": "depth",
    "hed": "hed",
    "softedge_anyline": "lineart",
    "softedge": "hed",
    "pidi": "pidi",
    "scribble": "scribble",
    "canny": "canny",
    "lineart": "lineart",
    "mlsd": "mlsd",
    "normal": "normal",
    "seg": "segment",
    "oneformer": "segment",
    "tile": "tile",
    "inpaint": "inpaint",
}


def type_number(name: str) -> int:
    """The number of a type that `CHOICES` names.

    >>> type_number("scribble"), type_number("repaint")
    (2, 7)
    """
    return _NUMBERS[name]


def guess(preprocessor: str) -> str | None:
    """The type of the maps that a preprocessor makes, None where it does not tell.

    >>> guess("canny"), guess("depth_anything_v2"), guess("none")
    ('canny', 'depth', None)
    """
    return next((kind for start, kind in _BEGINNINGS.items() if preprocessor.startswith(start)), None)
