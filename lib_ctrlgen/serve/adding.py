"""Adds REST routes to the application: each with its errors and the token that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from fastapi import FastAPI

from .answers import ErrorAnswer
from .openapi import SECURITY


class Add(Protocol):
    """Adds a route; `codes` are the errors that it has beside those that all have."""

    def __call__(
        self, method: str, path: str, function: Callable[..., Any], *codes: int, **options: Any
    ) -> None:
        """Add it. `options` are those of FastAPI's `add_api_route`."""


def adder(app: FastAPI) -> Add:
    """A function that adds routes to an application."""

    def add(method: str, path: str, function: Callable[..., Any], *codes: int, **options: Any) -> None:
        errors = {code: {"model": ErrorAnswer} for code in (401, *codes, 422, 503)}
        extra = {"security": SECURITY, **options.pop("openapi_extra", {})}
        responses = {**errors, **options.pop("responses", {})}
        app.add_api_route(
            path, function, methods=[method], responses=responses, openapi_extra=extra, **options
        )

    return add
