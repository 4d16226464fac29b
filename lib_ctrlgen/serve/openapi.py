"""What FastAPI cannot find out for the OpenAPI document: bodies with a job or a story, and tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lib_ctrlgen.headless.job_schema import job_schema
from lib_ctrlgen.projects.story.schema import story_schema
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.server_answers import KEY_HEADER
from lib_ctrlgen.request.spec import json_schema

SCHEME = "token"
SECURITY: list[dict[str, list[str]]] = [{SCHEME: []}]
OWN = "#/$defs/"
SHARED = "#/components/schemas/"
JOB, STORY = "Job", "StoryFile"


def body_of_job() -> dict[str, Any]:
    """The body of POST /jobs."""
    return _body("job", JOB)


def body_of_story() -> dict[str, Any]:
    """The body of POST /stories."""
    return _body("story", STORY)


def body_of(spec: type[Spec]) -> dict[str, Any]:
    """A body that is JSON of this type."""
    schema = {"$ref": f"{SHARED}{spec.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _body(name: str, schema: str) -> dict[str, Any]:
    """A body that is JSON, YAML, or a form whose part `name` has one of them."""
    whole = {"$ref": f"{SHARED}{schema}"}
    form = {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "string", "description": f"the {name}, as YAML or JSON"}},
        "additionalProperties": {"type": "string", "format": "binary"},
        "description": f"a {name} that names its pictures, and the pictures as files of these names",
    }
    content = {
        "application/json": {"schema": whole},
        "application/yaml": {"schema": whole},
        "multipart/form-data": {"schema": form},
    }
    key = {
        "name": KEY_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "a key of your own: what is sent again with it is queued once",
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": [key]}


def completed(document: dict[str, Any], bodies: Sequence[type[Spec]] = ()) -> dict[str, Any]:
    """The document with the schemas of a job, a story and other bodies, and how a token is sent."""
    components = document.setdefault("components", {})
    others = [(each.__name__, json_schema(each)) for each in bodies]
    for name, whole in ((JOB, job_schema()), (STORY, story_schema()), *others):
        schema: dict[str, Any] = json.loads(json.dumps(whole).replace(OWN, SHARED))
        schemas = schema.pop("$defs", {})
        known = components.get("schemas", {})
        components["schemas"] = {**schemas, name: job_part(schema, schemas), **known}
    components["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
    return document


def job_part(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a job or a story itself, which msgspec puts among the others."""
    name = str(schema.get("$ref", "")).removeprefix(SHARED)
    return dict(schemas[name]) if name else {key: value for key, value in schema.items() if key != "$schema"}
