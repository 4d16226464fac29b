"""Reads single values of sd-webui-controlnet's units, in all the forms in which clients send them.

Each function takes a value and its JSON path, and raises RequestError at the path for what it cannot read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.unit import ControlMode, ResizeMode

from .unit import HiresOption, OldControlMode, OldResizeMode, PulidMode, UnionControlType

T = TypeVar("T", bound=str)

RESIZE_MODES: tuple[OldResizeMode, ...] = get_args(OldResizeMode)
CONTROL_MODES: tuple[OldControlMode, ...] = get_args(OldControlMode)
HIRES_OPTIONS: tuple[HiresOption, ...] = get_args(HiresOption)
PULID_MODES: tuple[PulidMode, ...] = get_args(PulidMode)
UNION_TYPES: tuple[UnionControlType, ...] = get_args(UnionControlType)
# What CtrlGen's own units call them.
OWN_RESIZE_MODES: Mapping[OldResizeMode, ResizeMode] = MappingProxyType(
    dict(zip(RESIZE_MODES, get_args(ResizeMode), strict=True))
)
OWN_CONTROL_MODES: Mapping[OldControlMode, ControlMode] = MappingProxyType(
    dict(zip(CONTROL_MODES, get_args(ControlMode), strict=True))
)
# Other spellings of the values: those of older releases, and the members of the Python enums.
RESIZE_SPELLINGS: Mapping[str, OldResizeMode] = MappingProxyType(
    {
        "inner fit (scale to fit)": "Crop and Resize",
        "scale to fit (inner fit)": "Crop and Resize",
        "outer fit (shrink to fit)": "Resize and Fill",
        "envelope (outer fit)": "Resize and Fill",
        "resize": "Just Resize",
        "inner_fit": "Crop and Resize",
        "outer_fit": "Resize and Fill",
    }
)
CONTROL_SPELLINGS: Mapping[str, OldControlMode] = MappingProxyType(
    {"prompt": "My prompt is more important", "control": "ControlNet is more important"}
)
HIRES_SPELLINGS: Mapping[str, HiresOption] = MappingProxyType(
    {"low_res_only": "Low res only", "high_res_only": "High res only"}
)
PULID_SPELLINGS: Mapping[str, PulidMode] = MappingProxyType(
    {"style": "Extremely style", "extreme style": "Extremely style"}
)
UNION_SPELLINGS: Mapping[str, UnionControlType] = MappingProxyType(
    {
        "soft_edge": "Soft Edge",
        "softedge": "Soft Edge",
        "scribble": "Soft Edge",
        "hard_edge": "Hard Edge",
        "canny": "Hard Edge",
        "lineart": "Hard Edge",
        "mlsd": "Hard Edge",
        "normal_map": "Normal Map",
        "normalmap": "Normal Map",
        "blur": "Tile",
    }
)
LATENT_RESIZE = 3  # img2img's "Just Resize (Latent upscale)"
TRUE, FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


def read_switch(value: Any, path: str) -> bool:
    """A bool, 0 or 1, or a text such as `true` or `off`."""
    value = plain(value)
    text = str(value).strip().lower() if isinstance(value, (bool, int, float, str)) else ""
    text = {"0.0": "0", "1.0": "1"}.get(text, text)
    if text not in TRUE + FALSE:
        raise RequestError(path, f"expected true or false, got {shown(value)}")
    return text in TRUE


def read_number(value: Any, path: str) -> float:
    """A finite number, or a text that holds one."""
    value = plain(value)
    number = None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = None
    elif hasattr(value, "item") and not isinstance(value, bool):  # a number of NumPy
        return read_number(value.item(), path)
    if number is None or not math.isfinite(number):
        raise RequestError(path, f"expected a number, got {shown(value)}")
    return number


def read_number_within(value: Any, path: str, least: float, most: float) -> float:
    """A number from `least` to `most`, inclusive."""
    number = read_number(value, path)
    if not least <= number <= most:
        raise RequestError(path, f"expected a number from {least:g} to {most:g}, got {number:g}")
    return number


def read_text(value: Any, path: str) -> str:
    """A text; None is an empty one."""
    value = plain(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(path, f"expected a text, got {shown(value)}")
    return value.strip()


def read_resize_mode(value: Any, path: str, notices: Notices) -> OldResizeMode:
    """One of RESIZE_MODES; as in sd-webui-controlnet an integer from 3 on means `Just Resize`."""
    number = _integer(plain(value))
    if number is not None and number > LATENT_RESIZE:
        notices.add(path, f"there is no resize mode {number}: '{RESIZE_MODES[0]}' is used")
    if number is not None and number >= LATENT_RESIZE:
        return RESIZE_MODES[0]
    return read_choice(value, path, RESIZE_MODES, RESIZE_SPELLINGS)


def read_choice(value: Any, path: str, known: Sequence[T], spellings: Mapping[str, T]) -> T:
    """One of the known values: by its text, its number, or an enum's member, alone or in a list of one.

    Case is ignored, and of `ControlMode.BALANCED` the part after the point is read.
    """
    value = plain(value)
    number = _integer(value)
    if number is not None and 0 <= number < len(known):
        return known[number]
    if isinstance(value, str):
        text = value.strip().lower()
        values = {each.lower(): each for each in known} | dict(spellings)
        found = values.get(text) or values.get(text.rpartition(".")[2])
        if found:
            return found
    quoted = ", ".join(f"'{each}'" for each in known)
    raise RequestError(path, f"expected one of {quoted}, got {shown(value)}")


def plain(value: Any) -> Any:
    """The value of an enum's member or of a list with one item, else the value itself."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return plain(value[0])
    return plain(value.value) if isinstance(value, Enum) else value


def shown(value: Any) -> str:
    """A value for an error message, shortened."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an object of another extension
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def _integer(value: Any) -> int | None:
    """An integer, also in a text; None for anything else."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value) if len(value) < 10 else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
