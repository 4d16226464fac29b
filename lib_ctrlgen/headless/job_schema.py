"""The JSON Schema of job files, for editors. It does not import torch."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.request.pictures import LISTS, PICTURES
from lib_ctrlgen.request.spec import json_schema

from .jobs import JobFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "In a job file also the path of a picture, relative to the file."
FILES = "In a job file also a list of paths, a folder, or a pattern such as `frames/*.png`."


def job_schema() -> dict[str, Any]:
    """The JSON Schema of a job file: a request whose images may be files, and the `tune` section."""
    schema = json_schema(JobFile)
    definitions = schema["$defs"]
    for kind in ("ControlUnit", "Concept", "Reference", "Box"):
        part = definitions[kind]["properties"]
        for name in set(PICTURES) & part.keys():
            part[name] |= {"description": f"{part[name]['description']}. {FILE}"}
        for name in set(LISTS) & part.keys():
            part[name] = _or_text(part[name])
    return {"$schema": DIALECT, "title": "A job of CtrlGen", **schema}


def _or_text(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of pictures, extended by a text that names a folder or a file pattern."""
    own: dict[str, Any] = {name: field[name] for name in ("default", "description") if name in field}
    items = {name: value for name, value in field.items() if name not in own}
    return {"anyOf": [items, {"type": "string"}], **own, "description": f"{own['description']}. {FILES}"}
