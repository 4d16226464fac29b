"""The routes of a tuner job's ratings and recipes, for the OpenAPI document."""

from __future__ import annotations

from lib_ctrlgen.request.rating_answers import RatingsAnswer
from lib_ctrlgen.request.recipe_answers import CellRecipe, RecipeSaved
from lib_ctrlgen.tuner.ratings import Ratings

from .recipe_routes import SAVED
from .routes import Route
from .schemas import schema_of

PATH = "tune/{name}/ratings"
RATINGS = {
    "cells": {"0f3a5c7e9b1d2468": {"stars": 4, "favourite": True, "at": 1764400000000}},
    "votes": {
        "m1x2-k3": {
            "shown": ["0f3a5c7e9b1d2468", "13579bdf02468ace"],
            "order": ["13579bdf02468ace"],
            "at": 1764400001000,
        }
    },
}
STRENGTH = {"value": 0.6, "error": 1.3, "votes": 1, "share": 0.65, "low": 0.13, "high": 0.96}


def rating_routes() -> tuple[Route, ...]:
    """The routes that read and add ratings."""
    answered = {**RATINGS, "strengths": {"13579bdf02468ace": STRENGTH}}
    return (
        Route(
            method="GET",
            path=PATH,
            summary="Ratings of a tuner job",
            description="Stars, favourites and blind votes of a job's cells, and the strengths by the votes.",
            inside=("name",),
            answer=schema_of(RatingsAnswer),
            answer_example=answered,
            errors=(401, 404),
        ),
        Route(
            method="POST",
            path=PATH,
            summary="Add ratings to a tuner job",
            description="Merges ratings into those of the job. Of two entries of the same name the newer one "
            "(`at`) counts. A cell is named by the 16 hexadecimal digits in its pictures' file names.",
            inside=("name",),
            body=schema_of(Ratings),
            body_example=RATINGS,
            answer=schema_of(RatingsAnswer),
            answer_example=answered,
            errors=(401, 404, 422),
        ),
    )


def cell_routes() -> tuple[Route, ...]:
    """The route that saves a cell as a recipe."""
    return (
        Route(
            method="POST",
            path="tune/{name}/recipe",
            summary="Save a cell of a tuner job as a recipe",
            description="Saves a finished cell, by default the recommended one, with its units' pictures and "
            "its own picture as the result. A recipe that exists gets a new version.",
            inside=("name",),
            body=schema_of(CellRecipe),
            body_example={"recipe": "chair", "cell": "13579bdf02468ace"},
            answer=schema_of(RecipeSaved),
            answer_example={"name": "chair", "version": SAVED, "notes": []},
            errors=(401, 404, 422),
        ),
    )
