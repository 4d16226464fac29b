"""All routes under /ctrlgen/v1, in the order of the OpenAPI document."""

from __future__ import annotations

from .rating_routes import cell_routes, rating_routes
from .recipe_routes import recipe_routes
from .routes import Route, routes
from .training_routes import training_routes


def all_routes() -> tuple[Route, ...]:
    """All of them: those of ratings, recipes and trainings are the last."""
    return (*routes(), *rating_routes(), *cell_routes(), *recipe_routes(), *training_routes())
