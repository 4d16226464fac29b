"""Axes of the WebUI's X/Y/Z plot that change units: sd-webui-controlnet's, and those of CtrlGen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.catalogue import choices, preprocessor_named, preprocessor_names
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.unit import ControlMode, ResizeMode

from .axis_values import Reader, number, switch, whole_number
from .values import OWN_CONTROL_MODES, OWN_RESIZE_MODES

MODELS = "models"  # the choices are the model files, which only the host knows
FIELD = "field"  # the value names the field: `units.0.weight=0.5`


@dataclass(frozen=True, kw_only=True)
class UnitAxis:
    """An axis that changes a field of units.

    name       behind the prefix in the plot's list
    field      of a unit in a request; or `enabled`, `resolution`, `threshold_a`, `threshold_b`, `field`
    read       a text as a value of the field
    choices    texts that the plot offers; empty for numbers
    attribute  of a generation by which sd-webui-controlnet's units are changed; empty for CtrlGen's axes
    """

    name: str
    field: str
    read: Reader
    choices: tuple[str, ...] = ()
    attribute: str = ""

    def shown(self, value: Any) -> Any:
        """The value in sd-webui-controlnet's words."""
        modes: dict[str, Mapping[Any, str]] = {
            "control_mode": OWN_CONTROL_MODES,
            "resize_mode": OWN_RESIZE_MODES,
        }
        words = modes.get(self.field, {})
        return next((text for text, own in words.items() if own == value), value)

    @property
    def label(self) -> str:
        """The axis' name in the plot's list."""
        return f"[{'ControlNet' if self.attribute else 'CtrlGen'}] {self.name}"


def one_of(text: str, values: Mapping[Any, str]) -> str:
    """The value of one of several texts. Raises RequestError at `values` for another one."""
    if text not in values:
        raise RequestError("values", f"unknown value {text!r} ({choices(text, tuple(values))})")
    return values[text]


def schedule(text: str) -> str:
    """A number or the text of a schedule. Raises RequestError at `values`."""
    try:
        parse_schedule(text)
    except RequestError as error:
        raise RequestError("values", str(error)) from error
    return text


def text_of(values: Mapping[Any, str]) -> Callable[[str], str]:
    """A reader of the given texts."""
    return partial(one_of, values=values)


preprocessor = partial(preprocessor_named, "values")
SWITCHES = ("True", "False")
OLD_AXES = (
    UnitAxis(name="Enabled", field="enabled", read=switch, choices=SWITCHES, attribute="enabled"),
    UnitAxis(name="Model", field="model", read=str, choices=(MODELS,), attribute="model"),
    UnitAxis(name="Weight", field="weight", read=number, attribute="weight"),
    UnitAxis(name="Guidance Start", field="guidance_start", read=number, attribute="guidance_start"),
    UnitAxis(name="Guidance End", field="guidance_end", read=number, attribute="guidance_end"),
    UnitAxis(
        name="Control Mode",
        field="control_mode",
        read=text_of(OWN_CONTROL_MODES),
        choices=tuple(OWN_CONTROL_MODES),
        attribute="control_mode",
    ),
    UnitAxis(
        name="Resize Mode",
        field="resize_mode",
        read=text_of(OWN_RESIZE_MODES),
        choices=tuple(OWN_RESIZE_MODES),
        attribute="resize_mode",
    ),
    UnitAxis(
        name="Preprocessor",
        field="preprocessor",
        read=preprocessor,
        choices=preprocessor_names(),
        attribute="module",
    ),
    UnitAxis(name="Pre Resolution", field="resolution", read=whole_number, attribute="pres"),
    UnitAxis(name="Pre Threshold A", field="threshold_a", read=number, attribute="pthr_a"),
    UnitAxis(name="Pre Threshold B", field="threshold_b", read=number, attribute="pthr_b"),
)
OWN_AXES = (
    UnitAxis(name="Enabled", field="enabled", read=switch, choices=SWITCHES),
    UnitAxis(name="Model", field="model", read=str, choices=(MODELS,)),
    UnitAxis(name="Weight", field="weight", read=schedule),
    UnitAxis(name="Weight in the hires pass", field="hires", read=schedule),
    UnitAxis(name="Guidance start", field="guidance_start", read=number),
    UnitAxis(name="Guidance end", field="guidance_end", read=number),
    UnitAxis(name="Control mode", field="control_mode", read=str, choices=get_args(ControlMode)),
    UnitAxis(name="Resize mode", field="resize_mode", read=str, choices=get_args(ResizeMode)),
    UnitAxis(name="Preprocessor", field="preprocessor", read=preprocessor, choices=preprocessor_names()),
    UnitAxis(name="Mask strength", field="mask_strength", read=schedule),
    UnitAxis(name="Field", field=FIELD, read=str),
)
