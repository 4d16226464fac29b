"""The fields of a unit's tab for the parameters of control families.

A parameter that is uploaded (a picture, or saved embeddings) is None while nothing is uploaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param

from .uploads import uploaded, uploaded_embeddings

Values: TypeAlias = Mapping[str, Any]
Payload: TypeAlias = dict[str, Any]


def family_fields() -> dict[str, tuple[tuple[str, ...], Param]]:
    """The control families' parameters by field name, each with the names of the families that take it.

    A parameter that several families share is one field, named after the first of them.
    """
    return dict(_family_fields(catalogue.CONTROLS))


@lru_cache(maxsize=4)
def _family_fields(entries: tuple[catalogue.Entry, ...]) -> dict[str, tuple[tuple[str, ...], Param]]:
    """The same, for these families. The panel asks for it hundreds of times while it is built."""
    families: dict[Param, list[str]] = {}
    for entry in entries:
        for param in entry.params:
            families.setdefault(param, []).append(entry.name)
    return {f"{names[0]}_{param.name}": (tuple(names), param) for param, names in families.items()}


def default_of(param: Param) -> Any:
    """The value of a parameter's field in an unused unit."""
    return None if param.uploaded else param.default


def uploaded_fields() -> dict[str, Param]:
    """The fields of the families' parameters that are uploaded, which an infotext does not restore."""
    return {name: param for name, (_, param) in family_fields().items() if param.uploaded}


def unit_params(values: Values, path: str) -> Payload:
    """The parameters of a unit's family fields that are not uploaded. Raises RequestError below `path`."""
    own: Payload = {}
    for name, (_, param) in family_fields().items():
        # The other families' fields are at their defaults: the panel resets them when a model is chosen.
        if not param.uploaded and values.get(name) not in (None, param.default):
            own[param.name] = values[name]
    return own | _written_params(values["params"] or "", f"{path}.params")


def _written_params(text: str, path: str) -> Payload:
    if not text.strip():
        return {}
    try:
        written = json.loads(text)
    except ValueError as error:
        raise RequestError(path, f'not JSON ({error}); for example: {{"image_encoder": "name"}}') from error
    if not isinstance(written, dict):
        raise RequestError(path, 'expected a JSON object, for example: {"image_encoder": "name"}')
    return written


def uploaded_params(values: Values, path: str) -> Payload:
    """The parameters of a unit's fields that are uploaded, of several embeddings the first.

    Raises RequestError below `path`.
    """
    found: Payload = {}
    for name, param in uploaded_fields().items():
        read = uploaded_embeddings if param.kind == "embedding" else uploaded
        given = read(values.get(name), f"{path}.params.{param.name}")
        found |= {param.name: given[0]} if given else {}
    return found


def further_embeddings(values: Values, path: str) -> list[str]:
    """The embeddings of a unit's fields behind the first, which are further references of the unit.

    Raises RequestError below `path`.
    """
    return [
        each
        for name, param in uploaded_fields().items()
        if param.kind == "embedding"
        for each in uploaded_embeddings(values.get(name), f"{path}.params.{param.name}")[1:]
    ]


def shown_params(params: Values) -> Payload:
    """The fields for the parameters of a unit's family: the inverse of `unit_params`.

    The field `params` has those that have no field of their own.
    """
    shown = {name: param for name, (_, param) in family_fields().items() if fits(param, params)}
    values = {name: params[param.name] for name, param in shown.items() if not param.uploaded}
    named = {param.name for param in shown.values()}
    params = {name: value for name, value in params.items() if name not in named}
    return values | {"params": json.dumps(params) if params else ""}


def fits(param: Param, params: Values) -> bool:
    """Whether a unit has a value for this parameter that its component can show."""
    try:
        return param.name in params and param.check(params[param.name], "") is not None
    except RequestError:
        return False
