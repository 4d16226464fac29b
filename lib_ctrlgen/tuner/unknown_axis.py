"""The error of an axis whose label is none: it names the nearest labels."""

from __future__ import annotations

from collections.abc import Sequence

from lib_ctrlgen.errors import RequestError, UnknownFieldError, nearest

from .axis_choices import axis_choices

NO_PLACE = "the request has no such unit or concept"


def unknown_axis(error: RequestError, label: str, paths: Sequence[str]) -> RequestError | None:
    """The error at `path` for a label that leads to no field; None for other errors, and for plain paths.

    `label` is an axis' label as it was written, and `paths` are what `axes.path_of` made of its parts.
    """
    for part, path in zip(label.split("+"), paths, strict=False):
        name = part.strip()
        if name == path:
            continue
        if not error.path and error.message.startswith(path):  # of `axes.replaced`
            return RequestError("path", f"{name!r}: {NO_PLACE}")
        if isinstance(error, UnknownFieldError) and error.path == json_path(path):
            known = nearest(name, (each.label for each in axis_choices()))
            return RequestError("path", f"there is no axis {name!r} ({known})")
    return None


def json_path(path: str) -> str:
    """The JSON path of an axis' path.

    >>> json_path("units.0.weight")
    '$.units[0].weight'
    """
    return "$" + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in path.split("."))
