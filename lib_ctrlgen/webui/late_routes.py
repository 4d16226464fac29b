"""REST routes that are made when one of them is first asked for, so that the WebUI's start does not wait."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import cached_property
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute, Match

Fill = Callable[[APIRouter], None]  # adds the routes, with their whole paths
CHOSEN = "ctrlgen_route"  # the route in a request's scope


class LateRoutes(BaseRoute):  # type: ignore[misc]
    """The routes whose paths begin with `root`, as one route of the application."""

    def __init__(self, root: str, fill: Fill) -> None:
        self.root, self.fill = root, fill

    @cached_property
    def routes(self) -> list[BaseRoute]:
        """The routes."""
        router = APIRouter()
        self.fill(router)
        return list(router.routes)

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, dict[str, Any]]:
        """Whether a request is for one of the routes, and which; PARTIAL if only its method is another."""
        best: tuple[Match, dict[str, Any]] = (Match.NONE, {})
        if scope["type"] != "http" or f"{self.root}/" not in scope["path"]:
            return best
        for route in self.routes:
            match, found = route.matches(scope)
            if match.value > best[0].value:
                best = match, {**found, CHOSEN: route}
        return best

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request with the route that it is for."""
        await scope[CHOSEN].handle(scope, receive, send)


def add_late_routes(app: FastAPI, root: str, fill: Fill) -> LateRoutes:
    """Add the routes below `root` to the application, and to its OpenAPI document when that is made."""
    late = LateRoutes(root, fill)
    app.router.routes.append(late)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        document: dict[str, Any] = plain()
        if is_new:
            merge(document, get_openapi(title=app.title, version=app.version, routes=late.routes))
        return document

    app.openapi = openapi  # FastAPI documents this way of extending it
    return late


def merge(document: dict[str, Any], further: dict[str, Any]) -> None:
    """Add the paths and components of a further document."""
    document.setdefault("paths", {}).update(further.get("paths", {}))
    for kind, parts in further.get("components", {}).items():
        document.setdefault("components", {}).setdefault(kind, {}).update(parts)
