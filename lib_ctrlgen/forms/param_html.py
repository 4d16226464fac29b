"""The fields of parameters as HTML, which javascript/ctrlgen_params.js connects with the unit's values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from lib_ctrlgen.request.params import Param


def params_html(fields: Mapping[str, Param], values: Mapping[str, Any], prefix: str) -> str:
    """A field for each parameter, by its name; `values` are those that are not at their default.

    An element's id is `prefix` and the name.
    """
    shown = (_field(name, param, values.get(name, param.default), prefix) for name, param in fields.items())
    return f'<div class="ctrlgen-params">{"".join(shown)}</div>' if fields else ""


def _field(name: str, param: Param, value: Any, prefix: str) -> str:
    label = escape(param.label.partition(": ")[0])  # the rest is in the tooltip
    about = escape(param.info or param.label)
    inputs = {"int": _number, "float": _number, "choice": _choice, "bool": _tick}.get(param.kind, _text)
    info = f"<small>{escape(param.info)}</small>" if param.info else ""
    return (
        f'<div class="ctrlgen-param ctrlgen-param-{param.kind}" id="{prefix}{name}" title="{about}"'
        f' data-name="{name}" data-default="{escape(json.dumps(param.default))}">'
        f"<label><span>{label}</span>{inputs(param, value)}</label>{_slider(param, value, label)}{info}</div>"
    )


def _number(param: Param, value: Any) -> str:
    return f'<input type="number" {_limits(param, value)}>'


def _slider(param: Param, value: Any, label: str) -> str:
    """A second input for a number with two bounds."""
    bounded = param.kind in {"int", "float"} and None not in (param.minimum, param.maximum)
    return f'<input type="range" {_limits(param, value)} aria-label="{label}">' if bounded else ""


def _limits(param: Param, value: Any) -> str:
    ends = [end for end in (param.minimum, param.off) if end is not None]
    shown = value if isinstance(value, (int, float)) else None  # what an infotext says may be no number
    limits = {"min": min(ends, default=None), "max": param.maximum, "step": param.step, "value": shown}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return " ".join(f'{name}="{limit:.10g}"' for name, limit in given.items())


def _choice(param: Param, value: Any) -> str:
    def option(each: str) -> str:
        selected = " selected" if each == value else ""
        return f'<option value="{escape(each)}"{selected}>{escape(each)}</option>'

    return f"<select>{''.join(map(option, param.choices))}</select>"


def _tick(_param: Param, value: Any) -> str:
    return f'<input type="checkbox"{" checked" if value else ""}>'


def _text(_param: Param, value: Any) -> str:
    return f'<input type="text" value="{escape(str(value))}">'
