"""The OpenAPI 3.0 document of CtrlGen's routes, as FastAPI of a WebUI writes the same routes into its own."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen import __version__

from .routes import Route
from .schemas import Schema
from .table import all_routes

TITLE = "CtrlGen's routes in a WebUI"
ABOUT = (
    "The routes that the extension CtrlGen adds to an AUTOMATIC1111 WebUI. Generations go through the "
    "WebUI's own /sdapi/v1/txt2img and img2img, with CtrlGen's request in alwayson_scripts. A login is "
    "needed where the WebUI was started with --api-auth."
)
BASIC = "HTTPBasic"


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    for route in all_routes():
        paths.setdefault(route.whole_path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.0.2",
        "info": {"title": TITLE, "description": ABOUT, "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {BASIC: {"type": "http", "scheme": "basic"}}},
        "security": [{}, {BASIC: []}],
    }


def operation(route: Route) -> Schema:
    """One operation of the document."""
    queries = [parameter(each.name, "query", each.schema, required=False) for each in route.query]
    inside = [parameter(name, "path", {"type": "string"}, required=True) for name in route.inside]
    found: Schema = {"summary": route.summary, "description": route.description}
    found["operationId"] = operation_id(route)
    if queries or inside:
        found["parameters"] = [*inside, *queries]
    responses = {str(status): response for status, response in route.responses.items()}
    return {**found, **route.extra, "responses": responses}


def parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    """A parameter, titled as FastAPI titles it."""
    titled = {"title": name.replace("_", " ").title(), **schema}
    return {"required": required, "schema": titled, "name": name, "in": place}


def operation_id(route: Route) -> str:
    """The operation's name in generated clients, such as `ctrlgen_get_models`."""
    words = [part for part in route.path.replace("{path:path}", "").split("/") if part]
    named = ["job" if part == "{name}" else part.strip("{}") for part in words]
    return "_".join(["ctrlgen", route.method.lower(), *named])
