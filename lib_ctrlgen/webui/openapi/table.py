"""All routes under /ctrlgen/v1, in the order of the OpenAPI document."""

from __future__ import annotations

from .rating_routes import rating_routes
from .recipe_routes import recipe_routes
from .routes import Route, routes


def all_routes() -> tuple[Route, ...]:
    """The routes of models, plans, detection, faces and tuner jobs, then those of ratings and of recipes."""
    return (*routes(), *rating_routes(), *recipe_routes())
