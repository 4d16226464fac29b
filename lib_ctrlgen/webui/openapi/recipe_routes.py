"""The routes under /ctrlgen/v1/recipes as an OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.request.recipe_answers import (
    RecipeAdded,
    RecipeAnswer,
    RecipeBody,
    RecipeChange,
    RecipeDeleted,
    RecipeDiff,
    RecipeListed,
    RecipeRestore,
    RecipeVariant,
    RecipeVersion,
)

from .examples import PICTURE, UNIT
from .routes import BINARY, Query, Route
from .schemas import Schema, schema_of

ONE = "recipes/{recipe}"
VERSION = {"id": "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b", "saved": "2026-11-29T15:00:00+00:00"}
SAVED: dict[str, Any] = {**VERSION, "message": "warmer light"}
LISTED = {"name": "chair", "variant": "main", "version": SAVED}
JOB: dict[str, Any] = {"prompt": "a chair in a room", "seed": 5, "units": [UNIT]}
BODY = {"job": JOB, "settings": {"Hires upscale": "2"}, "result": PICTURE, "message": "warmer light"}
ANSWER = {
    "name": "chair",
    "variant": "main",
    "variants": ["main", "night"],
    "version": VERSION["id"],
    "job": JOB,
    "settings": {"Hires upscale": "2"},
    "infotext": "a chair in a room\nSteps: 20, Seed: 5, ...",
    "result": PICTURE,
    "missing": [],
}
DIFF = {
    "text": "--- chair@1a2b3c4d/recipe.yaml\n...",
    "pictures": [{"place": "result", "image": PICTURE, "largest": 80}],
}
VERSIONS = (Query(name="version", default=""), Query(name="variant", default=""))


def recipe_routes() -> tuple[Route, ...]:
    """The routes of the recipes, in the order of the document."""
    return (*list_routes(), *one_routes(), *change_routes(), *difference_routes())


def list_routes() -> tuple[Route, ...]:
    """The routes of the whole library."""
    listed: Schema = {"title": "Recipes", "type": "array", "items": schema_of(RecipeListed)}
    return (
        Route(
            method="GET",
            path="recipes",
            summary="All recipes",
            description="The recipes with their newest versions, the last saved one first.",
            answer=listed,
            answer_example=[LISTED],
        ),
        Route(
            method="POST",
            path="recipes",
            summary="Add a recipe from a file",
            description="The body is the zip of a recipe, or a picture with an infotext of CtrlGen; `name` "
            "is that of the new recipe. Only the files of a recipe are taken from a zip, and nothing is run.",
            query=(Query(name="name", default="imported"),),
            body={"title": "File", "type": "string", "format": "binary"},
            body_example="(the bytes of the file)",
            body_type=BINARY,
            answer=schema_of(RecipeAdded),
            answer_example={"name": "chair", "notes": []},
            errors=(401, 422),
        ),
    )


def one_routes() -> tuple[Route, ...]:
    """The routes that read and save one recipe."""
    return (
        Route(
            method="GET",
            path=ONE,
            summary="A recipe",
            description="A version of a recipe with its pictures, by default the newest one.",
            inside=("recipe",),
            query=VERSIONS,
            answer=schema_of(RecipeAnswer),
            answer_example=ANSWER,
            errors=(401, 404, 422),
        ),
        Route(
            method="PUT",
            path=ONE,
            summary="Save a recipe",
            description="Saves a recipe as a new one, or as a new version of one that exists.",
            inside=("recipe",),
            body=schema_of(RecipeBody),
            body_example=BODY,
            answer=schema_of(RecipeVersion),
            answer_example=SAVED,
            errors=(401, 422),
        ),
        Route(
            method="GET",
            path=f"{ONE}/zip",
            summary="The zip of a recipe",
            description="A version of a recipe as one zip, without its history.",
            inside=("recipe",),
            query=VERSIONS,
            answer=None,
            errors=(401, 404, 422),
        ),
    )


def change_routes() -> tuple[Route, ...]:
    """The routes that rename, delete and restore a recipe, and make variants of it."""
    common: dict[str, Any] = {"inside": ("recipe",), "errors": (401, 404, 422)}
    listed: dict[str, Any] = {"answer": schema_of(RecipeListed), **common}
    return (
        Route(
            method="PATCH",
            path=ONE,
            summary="Rename a recipe, or switch to a variant",
            description="Changes the name, the current variant, or both. A name that another recipe has is "
            "refused.",
            body=schema_of(RecipeChange),
            body_example={"name": "armchair", "variant": "night"},
            answer_example={**LISTED, "name": "armchair", "variant": "night"},
            **listed,
        ),
        Route(
            method="DELETE",
            path=ONE,
            summary="Delete a recipe",
            description="Deletes the recipe with its history. It cannot be brought back.",
            answer=schema_of(RecipeDeleted),
            answer_example={"name": "chair", "versions": 3},
            **common | {"errors": (401, 404)},
        ),
        Route(
            method="POST",
            path=f"{ONE}/restore",
            summary="Restore a version of a recipe",
            description="Makes an old version the newest one of the current variant; no version is lost.",
            body=schema_of(RecipeRestore),
            body_example={"version": "1a2b3c4d"},
            answer=schema_of(RecipeVersion),
            answer_example={**SAVED, "message": "Restored version 1a2b3c4d"},
            **common,
        ),
        Route(
            method="POST",
            path=f"{ONE}/variants",
            summary="Make a variant of a recipe",
            description="Makes a variant that begins with a version, and switches to it.",
            body=schema_of(RecipeVariant),
            body_example={"variant": "night", "version": "1a2b3c4d"},
            answer_example={**LISTED, "variant": "night"},
            **listed,
        ),
    )


def difference_routes() -> tuple[Route, ...]:
    """The routes that read the history of a recipe."""
    history: Schema = {"title": "History", "type": "array", "items": schema_of(RecipeVersion)}
    return (
        Route(
            method="GET",
            path=f"{ONE}/history",
            summary="The history of a recipe",
            description="The versions of a variant, by default the current one, the newest first.",
            inside=("recipe",),
            query=(Query(name="variant", default=""),),
            answer=history,
            answer_example=[SAVED],
            errors=(401, 404, 422),
        ),
        Route(
            method="GET",
            path=f"{ONE}/diff",
            summary="What differs",
            description="The difference between two versions, by default the newest one and the one before; "
            "`other` names another recipe, whose newest version or `new` is compared instead.",
            inside=("recipe",),
            query=tuple(Query(name=name, default="") for name in ("old", "new", "other")),
            answer=schema_of(RecipeDiff),
            answer_example=DIFF,
            errors=(401, 404, 422),
        ),
    )
