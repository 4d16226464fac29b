"""The values of the parameters of a unit's preprocessors and control family, in one field of the panel.

The field is a JSON object of parameter fields (`param_fields`, `family_fields`) with the values that differ
from the defaults, or empty. So a unit has one component for all of them, and the page makes the others.

>>> read_param_values('{"canny_low_threshold": 50}', "$.units[0].params")
{'canny_low_threshold': 50}
>>> with_param('{"canny_low_threshold": 50}', "canny_low_threshold", 100)
''
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.params import Param

from .param_fields import default_of, family_fields
from .preprocessor_fields import param_fields

Payload: TypeAlias = dict[str, Any]

PARAM_VALUES = "param_values"
EXAMPLE = 'for example {"canny_low_threshold": 50}'


def stored_params() -> dict[str, Param]:
    """The parameters whose values are in the text, by field name: all but uploaded ones."""
    fields = {**param_fields(), **family_fields()}
    return {name: param for name, (_, param) in fields.items() if not param.uploaded}


def read_param_values(text: Any, path: str) -> Payload:
    """The parameter values in the panel's JSON text, by field name. Raises RequestError at `path`."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, TypeError) as error:
        raise RequestError(path, f"not JSON ({error}); {EXAMPLE}") from error
    if not isinstance(found, dict):
        raise RequestError(path, f"expected a JSON object, {EXAMPLE}")
    if unknown := found.keys() - {*param_fields(), *family_fields()}:
        raise RequestError(path, f"the panel has no parameter {min(unknown)!r}")
    return found


def write_param_values(values: Mapping[str, Any]) -> str:
    """The JSON text for parameter values by field name; values that equal the default are left out."""
    fields = {**param_fields(), **family_fields()}
    own = {name: value for name, value in values.items() if value != default_of(fields[name][1])}
    return json.dumps(own) if own else ""


def with_param(text: Any, name: str, value: Any) -> str:
    """The text with one field set."""
    return write_param_values({**read_param_values(text, ""), name: value})


def without_foreign(text: Any, family: str) -> str:
    """The text without the parameters that other control families have and this one has not."""
    own = family_fields()
    return write_param_values(
        {
            name: value
            for name, value in read_param_values(text, "").items()
            if name not in own or family in own[name][0]
        }
    )
