"""The axes that the tuner's panel offers, each with a label, example values and a sentence.

Every label is one that `axes.path_of` reads. Any other path of a request may be written instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lib_ctrlgen.errors import RequestError, UnknownFieldError, nearest

NO_PLACE = "the request has no such unit or concept"
UNITS = 3  # units whose fields are offered; those of later units are written by hand


@dataclass(frozen=True, kw_only=True)
class AxisChoice:
    """A choice of the panel: `label` is the axis, `example` are values for it, `about` says what they are."""

    label: str
    example: str
    about: str


OTHERS = (
    AxisChoice(label="CFG scale", example="3-9 [4]", about="How closely the picture follows the prompt."),
    AxisChoice(label="Steps", example="10, 20, 30", about="The number of sampling steps."),
    AxisChoice(label="Sampler", example="Euler, DPM++ 2M", about="Names as in the WebUI's list."),
    AxisChoice(label="Schedule type", example="Automatic, Karras", about="Names as in the WebUI's list."),
    AxisChoice(label="Seed", example="1, 2, 3", about="Different noise for each value."),
    AxisChoice(
        label="Denoising strength",
        example="0.3-0.9 [4]",
        about="img2img: how much of the picture may change.",
    ),
    AxisChoice(label="Checkpoint", example="first, second", about="Names as in the WebUI's list."),
    AxisChoice(
        label="Text in the prompt",
        example="oak, walnut, steel",
        about="The first value is a text of the prompt; the others take its place.",
    ),
)


def unit_choices(unit: int) -> Iterator[AxisChoice]:
    """The choices for a unit's fields."""
    yield AxisChoice(
        label=f"Weight of unit {unit}",
        example="0-1.2 [5]",
        about="A number, or a curve over the steps such as 1>0.",
    )
    yield AxisChoice(
        label=f"Start of unit {unit}",
        example="0, 0.2, 0.4",
        about="The share of the steps at which it begins to act.",
    )
    yield AxisChoice(
        label=f"End of unit {unit}", example="0.4-1 [4]", about="The share of the steps at which it stops."
    )
    yield AxisChoice(
        label=f"Control mode of unit {unit}",
        example="balanced, prompt, control",
        about="Whether the prompt or the control map is more important.",
    )
    yield AxisChoice(
        label=f"Model of unit {unit}", example="first, second", about="Names as in the unit's model list."
    )
    yield AxisChoice(
        label=f"Preprocessor of unit {unit}",
        example="canny, invert",
        about="Names as in the unit's preprocessor list.",
    )
    yield AxisChoice(
        label=f"Model of unit {unit}+Preprocessor of unit {unit}",
        example="edges+canny, lines+none",
        about="Both change together: a model, a plus sign, a preprocessor.",
    )


def axis_choices() -> list[AxisChoice]:
    """All choices, in the order of the list."""
    return [*(each for unit in range(UNITS) for each in unit_choices(unit)), *OTHERS]


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
