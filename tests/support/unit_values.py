"""A unit's fields in the panel, with the parameters of preprocessors and control families by field name.

The panel keeps these parameters in one field, `param_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.forms.param_values import PARAM_VALUES, read_param_values, stored_params, write_param_values
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.request.params import Param


def all_params() -> dict[str, Param]:
    """Every parameter that has its value in `param_values`, by field name."""
    return stored_params()


def unit_values(**fields: Any) -> dict[str, Any]:
    """The values of an unused unit with these; those of parameters are in `param_values`."""
    known = all_params()
    params = {name: value for name, value in fields.items() if name in known}
    others = {name: value for name, value in fields.items() if name not in known}
    assert others.keys() <= unit_fields().keys()
    before = read_param_values(others.get(PARAM_VALUES), "$")
    return unit_fields() | others | {PARAM_VALUES: write_param_values({**before, **params})}


def with_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """A unit's values with the value of every parameter, also of defaults, instead of `param_values`."""
    others = {name: value for name, value in values.items() if name != PARAM_VALUES}
    defaults = {name: param.default for name, param in all_params().items()}
    return others | defaults | read_param_values(values[PARAM_VALUES], "$")
