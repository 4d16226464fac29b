"""The REST routes of recipes."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import quote

from fastapi import Body, Depends, HTTPException, Request, Response
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_base64, encode_image
from lib_ctrlgen.recipes.archive import write_zip
from lib_ctrlgen.recipes.compare import compare_versions
from lib_ctrlgen.recipes.content import Recipe, data_url
from lib_ctrlgen.recipes.imports import LARGEST_UPLOAD, import_file
from lib_ctrlgen.recipes.infotext import infotext_of
from lib_ctrlgen.recipes.reading import read_settings
from lib_ctrlgen.recipes.versions import RecipeFolder
from lib_ctrlgen.request.recipe_answers import RecipeBody, RecipeChange, RecipeRestore, RecipeVariant
from lib_ctrlgen.request.spec import parse_request

from .recipe_library import library

MEGABYTE = 1 << 20


def found(name: str) -> RecipeFolder:
    """The recipe of a name. Raises HTTPException 404 if there is none."""
    try:
        return library().find(name)
    except RequestError as error:
        raise HTTPException(404, error.message) from error


def list_recipes() -> list[dict[str, Any]]:
    """Return all recipes with their newest versions, the last saved one first."""
    return [
        {"name": row.name, "variant": row.variant, "version": vars(row.version)} for row in library().listed()
    ]


def listed_row(folder: RecipeFolder) -> dict[str, Any]:
    """Return a recipe as in the list: its name, current variant and newest version."""
    return {"name": folder.folder.name, "variant": folder.variant, "version": vars(folder.newest())}


def get_recipe(recipe: str, version: str = "", variant: str = "") -> dict[str, Any]:
    """Return a version of a recipe with its pictures. Raises RequestError."""
    folder = found(recipe)
    commit = folder.commit(version, variant)
    read = folder.read(commit)
    return {
        "name": folder.folder.name,
        "variant": folder.variant,
        "variants": folder.variants(),
        "version": commit,
        "job": read.job,
        "settings": dict(read.settings),
        "infotext": infotext_of(read),
        "result": data_url(read.result, image_kind(read.result)) if read.result else "",
        "missing": list(read.missing),
    }


def image_kind(data: bytes) -> str:
    """The format of a result picture in lower case, such as `png`."""
    with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
        return str(image.format).lower()


def put_recipe(recipe: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Save a recipe, and return the new version. Raises RequestError."""
    body = parse_request(payload, RecipeBody)
    result = decode_base64(body.result, "$.result") if body.result else b""
    given = Recipe(job=body.job, settings=read_settings(body.settings), result=result)
    return vars(library().save(recipe, given, body.message, body.variant))


def patch_recipe(recipe: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Rename a recipe, switch it to a variant, or both. Raises RequestError, or HTTPException 404."""
    change = parse_request(payload, RecipeChange)
    name = found(recipe).folder.name
    if change.variant:
        with library().changing(name) as folder:
            folder.switch(change.variant)
    name = library().rename(name, change.name) if change.name else name
    return listed_row(library().find(name))


def delete_recipe(recipe: str) -> dict[str, Any]:
    """Delete a recipe with its history. Raises HTTPException 404."""
    folder = found(recipe)
    deleted = {"name": folder.folder.name, "versions": len(folder.history())}
    library().delete(folder.folder.name)
    return deleted


def restore_recipe(recipe: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Make an old version the newest one. Raises RequestError, or HTTPException 404."""
    wanted = parse_request(payload, RecipeRestore)
    with library().changing(found(recipe).folder.name) as folder:
        return vars(folder.restore(wanted.version))


def post_variant(recipe: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Make a variant of a recipe, and switch to it. Raises RequestError, or HTTPException 404."""
    wanted = parse_request(payload, RecipeVariant)
    with library().changing(found(recipe).folder.name) as folder:
        folder.new_variant(wanted.variant, wanted.version)
        return listed_row(folder)


async def uploaded_file(request: Request) -> bytes:
    """Return the body of a request. Raises HTTPException 413 as soon as it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_UPLOAD:
            raise HTTPException(413, f"the file is larger than {LARGEST_UPLOAD // MEGABYTE} MB")
        parts.append(part)
    return b"".join(parts)


def post_recipe(name: str = "imported", data: bytes = Depends(uploaded_file)) -> dict[str, Any]:
    """Add the recipe in a zip or a picture. Raises RequestError."""
    added = import_file(library(), data, name)
    return {"name": added.name, "notes": list(added.notes)}


def recipe_zip(recipe: str, version: str = "", variant: str = "") -> Response:
    """Return a version of a recipe as a zip. Raises RequestError."""
    folder = found(recipe)
    packed = write_zip(folder.files(folder.commit(version, variant)))
    name = quote(f"{folder.folder.name}.zip", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(packed, media_type="application/zip", headers=headers)


def recipe_history(recipe: str, variant: str = "") -> list[dict[str, Any]]:
    """Return the versions of a variant, the newest first. Raises RequestError."""
    return [vars(each) for each in found(recipe).history(variant)]


def recipe_diff(recipe: str, old: str = "", new: str = "", other: str = "") -> dict[str, Any]:
    """Return what differs between two versions of a recipe, or of two recipes. Raises RequestError."""
    difference = compare_versions(found(recipe), found(other or recipe), old, new)
    pictures = [
        {"place": each.place, "image": encode_image(each.image), "largest": each.largest}
        for each in difference.pictures
    ]
    return {"text": difference.text, "pictures": pictures}
