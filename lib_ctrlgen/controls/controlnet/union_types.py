"""The types of control maps that a ControlNet Union was trained with, and their numbers in its file.

The numbers are those of xinsir's files; 6 and 7 are only in ProMax files. A preprocessor names the type of
its maps in `union_type`.
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


def type_number(name: str) -> int:
    """The number of a type that `CHOICES` names.

    >>> type_number("scribble"), type_number("repaint")
    (2, 7)
    """
    return _NUMBERS[name]
