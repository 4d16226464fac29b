"""Reads the tuner's arguments: one JSON object, or the values of its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib_ctrlgen.errors import CtrlGenError, RequestError, below
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.tuner.cells import NAMES, TuneSpec

RANGE = re.compile(r"\$\.tune\.auto\.ranges\[(\d+)\]")
COARSE = 0.4  # the share of the steps with which the panel's "from coarse to fine" begins


def read_tune(args: Sequence[Any]) -> tuple[TuneSpec, str]:
    """Read the axes and the folder's name from the script's arguments. Raises RequestError at `$.tune`."""
    first, *values = args or ("",)
    fields = _from_json(first) if first not in (None, "") else _from_panel(values)
    name = str(fields.pop("name", "") or "")
    fields.pop("job", None)  # set by the job route, not by a user
    with below("$.tune"):
        return parse_request(fields, TuneSpec), name


def at_fields(error: CtrlGenError, args: Sequence[Any]) -> CtrlGenError:
    """The error of a search's range at the axis whose fields it was read from; others are unchanged."""
    if not isinstance(error, RequestError) or args[0] not in (None, ""):
        return error
    found = RANGE.match(error.path)
    if found is None:
        return error
    filled = [name for name, place in zip(NAMES, args[1::2], strict=False) if str(place or "").strip()]
    place = f"$.tune.{filled[int(found[1])]}{error.path[found.end() :]}"
    return RequestError(place, error.message)


def _from_json(first: Any) -> dict[str, Any]:
    try:
        fields = json.loads(first) if isinstance(first, str) else first
    except ValueError as error:
        raise RequestError("$.tune", f"not JSON: {error}") from error
    if not isinstance(fields, Mapping):
        raise RequestError(
            "$.tune", 'expected an object such as {"x": {"path": "Steps", "values": "10, 20"}}'
        )
    return dict(fields)


def _from_panel(fields: Sequence[Any]) -> dict[str, Any]:
    axes: dict[str, Any] = {}
    pairs, rest = [*fields[: 2 * len(NAMES)]], fields[2 * len(NAMES) :]
    for name, place, values in zip(NAMES, pairs[::2], pairs[1::2], strict=False):
        if str(place or "").strip():
            axes[name] = {"path": str(place).strip(), "values": str(values or "").strip()}
    seeds, folder, force, budget, coarse = [*rest, "", "", "", "", ""][:5]
    whole: dict[str, Any] = {
        "seeds": int(seeds or 1),
        "name": str(folder or "").strip(),
        "force": bool(force),
    }
    if coarse:
        whole["coarse"] = COARSE
    if not budget:
        return axes | whole
    return whole | {"auto": {"budget": int(budget), "ranges": list(axes.values())}}
