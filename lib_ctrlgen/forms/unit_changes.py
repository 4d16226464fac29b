"""Changes of units by an axis of the WebUI's X/Y/Z plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.compat.axes import FIELD, UnitAxis
from lib_ctrlgen.compat.axis_values import UnitValues
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.preprocessors import params_of
from lib_ctrlgen.preprocessors.detection import RESOLUTION
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.preprocessing import stages_of
from lib_ctrlgen.request.spec import ControlRequest, parse_request, to_payload
from lib_ctrlgen.tuner.axes import path_of, replaced
from lib_ctrlgen.tuner.values import single_value

from .unit_fields import UNITS_FROM, unit_fields

Payload: TypeAlias = dict[str, Any]
ENABLED = "enabled"
THRESHOLDS = {"threshold_a": 0, "threshold_b": 1}


@dataclass(frozen=True)
class UnitChange:
    """One value of an axis."""

    axis: UnitAxis
    values: UnitValues

    def of(self, unit: int) -> Any:
        """The value for the unit of this index; None leaves it as it is.

        In sd-webui-controlnet a single value of the axis "Enabled" is that of the first unit.
        """
        if self.axis.field == ENABLED and not self.values.each:
            return self.values.every if unit == 0 else None
        return self.values.of(unit)


def changed_args(args: Sequence[Any], changes: Sequence[UnitChange]) -> list[Any]:
    """A copy of a script's arguments with units switched on or off. Raises RequestError.

    The other fields are changed by `changed_request`: a panel's units that are off have no fields yet.
    """
    switches = [change for change in changes if change.axis.field == ENABLED]
    found = list(args)
    if not switches:
        return found
    if not found or found[0] in (None, ""):
        width, place = len(unit_fields()), list(unit_fields()).index(ENABLED)
        places = range(1 + UNITS_FROM + place, len(found), width)
        for change in switches:
            _require_units(change, len(places))
            for unit, index in enumerate(places):
                value = change.of(unit)
                found[index] = found[index] if value is None else value
        return found
    payload = json.loads(found[0]) if isinstance(found[0], str) else dict(found[0])
    for change in switches:
        payload = _with_units(payload, change)
    return [payload, *found[1:]]


def changed_request(request: ControlRequest, changes: Sequence[UnitChange]) -> ControlRequest:
    """The request with the changes of all fields but `enabled`. Raises RequestError."""
    others = [change for change in changes if change.axis.field != ENABLED]
    if not others:
        return request
    payload = to_payload(request)
    for change in others:
        if change.axis.field == FIELD:
            payload = _with_field(payload, str(change.values))
        else:
            payload = _with_units(payload, change)
    return parse_request(payload)


def _with_units(payload: Payload, change: UnitChange) -> Payload:
    units = payload.get("units") or []
    _require_units(change, len(units))
    values = [(unit, change.of(number)) for number, unit in enumerate(units)]
    changed = [
        unit if value is None else _with_value(unit, change.axis.field, value, f"$.units[{number}]")
        for number, (unit, value) in enumerate(values)
    ]
    return payload | {"units": changed}


def _require_units(change: UnitChange, count: int) -> None:
    """Raise RequestError if a change has a value for a unit that is not there."""
    label = change.axis.label
    if not count:
        raise RequestError("$.units", f"{label} has no unit to change: switch one on")
    missing = next(
        (n for n, value in enumerate(change.values.each) if value is not None and n >= count), None
    )
    if missing is not None:
        raise RequestError(
            "$.units", f"{label} has a value for unit {missing}, but there are only {count} units"
        )


def _with_value(unit: Mapping[str, Any], field: str, value: Any, path: str) -> Payload:
    if field == "model":
        return {**unit, **_model(value)}
    if field == "resolution" or field in THRESHOLDS:
        name = _param(unit, field, path)
        return {**unit, "params": {**unit.get("params", {}), name: value}}
    return {**unit, field: value}


def _model(name: str) -> Payload:
    """The fields of a unit for a choice of the model list, which also holds controls without a file."""
    control = catalogue.control_without_model(name)
    return {"model": "", "control": control} if control else {"model": name, "control": catalogue.AUTO}


def _param(unit: Mapping[str, Any], field: str, path: str) -> str:
    """The parameter of a unit's preprocessor that sd-webui-controlnet calls resolution or threshold A or B.

    Raises RequestError if the preprocessor has none, or there are several preprocessors.
    """
    stages = stages_of(unit.get("preprocessor", "none"))
    if len(stages) != 1:
        message = "has several preprocessors: name a parameter with the axis '[CtrlGen] Field'"
        raise RequestError(f"{path}.preprocessor", message)
    names = [
        param.name
        for param in params_of(
            catalogue.entry(stages[0].name, catalogue.PREPROCESSORS, "preprocessor").load()
        )
    ]
    own = [name for name in names if name != RESOLUTION.name]
    place = THRESHOLDS.get(field)
    if place is None and RESOLUTION.name in names:
        return RESOLUTION.name
    if place is None or place >= len(own):
        raise RequestError(f"{path}.preprocessor", f"{stages[0].name!r} has no {field.replace('_', ' ')}")
    return own[place]


def _with_field(payload: Payload, text: str) -> Payload:
    """A copy with the field of `path=value` set. Raises RequestError."""
    path, sign, value = text.partition("=")
    if not sign or not path.strip():
        raise RequestError("values", f"{text!r} must be a path and a value: units.0.weight=0.5")
    place = path_of(path.strip())
    found = replaced(payload, place.split("."), single_value(value.strip()), place)
    return dict(found)
