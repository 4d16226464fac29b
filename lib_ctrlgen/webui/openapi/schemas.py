"""JSON Schemas of requests and answers in the form of OpenAPI 3.0, which FastAPI of the WebUI writes.

OpenAPI 3.0 has `nullable` instead of the type "null", one `example` instead of `examples`, and no lists of
item types. FastAPI cannot write exclusive bounds and null defaults of OpenAPI 3.0: the former become
inclusive, and the description says so; the latter are left out. What is referred to is written out.

>>> openapi_schema({"anyOf": [{"type": "number"}, {"type": "null"}], "default": None})
{'type': 'number', 'nullable': True}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from lib_ctrlgen.request.spec import json_schema

Schema: TypeAlias = dict[str, Any]

DEFINITIONS = "#/$defs/"
NULL = {"type": "null"}
EXCLUDED = "the bounds themselves are excluded"
BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def schema_of(kind: type[Struct]) -> Schema:
    """The schema of a request's or an answer's type."""
    whole = json_schema(kind)
    return openapi_schema(whole, whole["$defs"])


def openapi_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> Schema:
    """A JSON Schema of 2020-12, as msgspec writes it, in the form of OpenAPI 3.0."""
    known = definitions or {}
    found: Schema = {}
    for name, value in _referred(schema, known).items():
        found |= _converted(name, value, known)
    if any(name in found for name in BOUNDS):
        found |= {bound: found.pop(name) for name, bound in BOUNDS.items() if name in found}
        found["description"] = "; ".join(filter(None, (found.get("description"), EXCLUDED)))
    return found


def _referred(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with what it refers to; its own words come first."""
    if "$ref" not in schema:
        return schema
    others = {name: value for name, value in schema.items() if name not in ("$ref", "$defs")}
    return {**definitions[schema["$ref"].removeprefix(DEFINITIONS)], **others}


def _converted(name: str, value: Any, definitions: Mapping[str, Any]) -> Schema:
    """One word of a schema."""
    if name == "anyOf":
        return _alternatives(value, definitions)
    if name == "properties":
        return {name: {key: openapi_schema(each, definitions) for key, each in value.items()}}
    if name in ("items", "additionalProperties") and isinstance(value, Mapping):
        return {name: openapi_schema(value, definitions)}
    if name == "prefixItems":  # of a list of fixed length with items of one type
        return {"items": openapi_schema(value[0], definitions)}
    return _plain(name, value)


def _plain(name: str, value: Any) -> Schema:
    """A word that holds no schema; `items: false` follows `prefixItems` and is left out."""
    if name == "examples":
        return {"example": value[0]}
    left_out = (name == "required" and not value) or (name == "default" and value is None) or name == "items"
    return {} if left_out else {name: value}


def _alternatives(schemas: list[Schema], definitions: Mapping[str, Any]) -> Schema:
    """Alternatives, of which null is a switch."""
    others = [openapi_schema(each, definitions) for each in schemas if each != NULL]
    found: Schema = others[0] if len(others) == 1 else {"anyOf": others}
    return {**found, "nullable": True} if NULL in schemas else found
