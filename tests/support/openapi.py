"""Checks values against the schemas of an OpenAPI 3.0 document, and that nothing in them is undocumented."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft4Validator

JSON = "application/json"


def problems(schema: Any, value: Any) -> list[str]:
    """What is wrong with a value; a field that its schema does not name is wrong, too."""
    found = Draft4Validator(strict(schema)).iter_errors(value)
    return [f"{list(error.absolute_path)}: {error.message}" for error in found]


def strict(schema: Any) -> Any:
    """The schema as JSON Schema of draft 4, with no fields but those that it names."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {name: strict(value) for name, value in schema.items() if name not in ("nullable", "example")}
    if isinstance(found.get("properties"), Mapping) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """The path, the method and the operation of each of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def answer_schema(document: Any, method: str, path: str, status: int = 200) -> Any:
    """The schema of the JSON answer of an operation."""
    return document["paths"][path][method]["responses"][str(status)]["content"][JSON]["schema"]
