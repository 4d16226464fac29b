"""The REST routes of the team's recipes, and of the requests that pictures were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.recipes.archive import write_zip
from lib_ctrlgen.recipes.compare import compare_versions
from lib_ctrlgen.recipes.content import result_of
from lib_ctrlgen.recipes.versions import RecipeFolder, Version
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.server_answers import (
    DeletedAnswer,
    DifferenceAnswer,
    ListedRecipeAnswer,
    PairAnswer,
    SavedAnswer,
    VersionAnswer,
    WholeJobAnswer,
    WholeRecipeAnswer,
)
from lib_ctrlgen.request.spec import parse_request

from .adding import Add
from .answers import whole_answer
from .errors import NotFoundError
from .made_from import made_from
from .once import once_of
from .openapi import body_of
from .posted import shown_settings
from .recipes import SaveRecipe, TeamRecipes
from .routes import SAFE, SHOWN, Routes, yaml_answer
from .users import User

Named = Annotated[str, Query(description="by at least 7 digits of its hash; the newest one when empty")]
Variant = Annotated[str, Query(description="the current one when empty")]
Other = Annotated[str, Query(description="another recipe to compare with")]
ONE = "/recipes/{name}"


class RecipeVersionBody(Spec, frozen=True, kw_only=True):
    """A version of a recipe, by at least 7 digits of its hash."""

    version: str


class RecipeJobBody(Spec, frozen=True, kw_only=True):
    """The version of a recipe that is to be made again; the newest one when empty."""

    version: str = ""


BODIES = (SaveRecipe, RecipeVersionBody, RecipeJobBody)


async def json_body(request: Request) -> bytes:
    """The body of a request."""
    data: bytes = await request.body()
    return data


def read_body(data: bytes) -> Mapping[str, Any]:
    """The object in a body. Raises RequestError."""
    try:
        content = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestError("$", f"the body is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise RequestError("$", f"expected an object, not {type(content).__name__}")
    return content


Body = Annotated[bytes, Depends(json_body)]


class RecipeRoutes:
    """The functions of the routes. All users see all recipes."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.recipes = TeamRecipes(routes.service, routes.models)

    def reader(self, request: Request) -> User:
        """Who reads. Raises NotAllowedError."""
        return self.routes.access.reader(request)

    def found(self, request: Request, name: str) -> RecipeFolder:
        """The recipe of a name, for a user. Raises NotAllowedError, NotFoundError."""
        self.reader(request)
        return self.recipes.find(name)

    def listed(self, request: Request) -> list[ListedRecipeAnswer]:
        """All recipes of the team with their newest versions, the last saved one first."""
        self.reader(request)
        return [
            ListedRecipeAnswer(name=row.name, variant=row.variant, version=version_answer(row.version))
            for row in self.recipes.library().listed()
        ]

    def save(self, request: Request, data: Body) -> list[SavedAnswer]:
        """Save a picture of a job as a recipe, or all assets of a story; the caller is the author."""
        user = self.routes.access.bearer(request)
        wanted = parse_request(read_body(data), SaveRecipe)
        return [
            SavedAnswer(name=each.name, version=version_answer(each.version), notes=list(each.notes))
            for each in self.recipes.save(user, self.routes.job(user, wanted.job), wanted)
        ]

    def get(
        self, request: Request, name: str, version: Named = "", variant: Variant = ""
    ) -> WholeRecipeAnswer:
        """A version of a recipe, by default the newest one."""
        folder = self.found(request, name)
        commit = folder.commit(version, variant)
        recipe = folder.read(commit)
        return WholeRecipeAnswer(
            name=folder.folder.name,
            variant=folder.variant,
            version=version_answer(folder.described(commit)),
            creator=folder.creator(),
            variants=folder.variants(),
            settings=shown_settings(recipe.job),
            missing=list(recipe.missing),
        )

    def history(self, request: Request, name: str, variant: Variant = "") -> list[VersionAnswer]:
        """The versions of a variant, the newest first, with their authors."""
        return [version_answer(each) for each in self.found(request, name).history(variant)]

    def difference(
        self, request: Request, name: str, old: Named = "", new: Named = "", other: Other = ""
    ) -> DifferenceAnswer:
        """What differs between two versions, by default the newest one and the one before."""
        folder = self.found(request, name)
        found = compare_versions(folder, self.recipes.find(other or name), old, new)
        pairs = [
            PairAnswer(place=each.place, image=encode_image(each.image), largest=each.largest)
            for each in found.pictures
        ]
        return DifferenceAnswer(text=found.text, pictures=pairs)

    def restore(self, request: Request, name: str, data: Body) -> VersionAnswer:
        """Make an old version the newest one; no version is lost."""
        user = self.routes.access.bearer(request)
        wanted = parse_request(read_body(data), RecipeVersionBody)
        return version_answer(self.recipes.restore(user, name, wanted.version))

    def again(self, request: Request, name: str, data: Body) -> WholeJobAnswer:
        """Queue a version of a recipe, by default the newest one, as a job."""
        user = self.routes.access.bearer(request)
        wanted = parse_request(read_body(data), RecipeJobBody)
        once = once_of(request.headers, f"{name}\n".encode() + data, {})
        job = self.recipes.again(user, name, wanted.version, once)
        return whole_answer(job, self.routes.service)

    def job(self, request: Request, name: str, version: Named = "", variant: Variant = "") -> Response:
        """A version as a job in YAML with its pictures in base64, which can be sent to POST /jobs."""
        self.reader(request)
        return yaml_answer(self.recipes.job(name, version, variant), f"{name}.yaml")

    def zip(self, request: Request, name: str, version: Named = "", variant: Variant = "") -> Response:
        """A version as one zip without the history, for `ctrlgen recipes import` and the WebUI."""
        folder = self.found(request, name)
        packed = write_zip(folder.files(folder.commit(version, variant)))
        said = quote(f"{folder.folder.name}.zip", safe="")
        headers = {**SAFE, "Content-Disposition": f"attachment; filename*=UTF-8''{said}"}
        return Response(packed, media_type="application/zip", headers=headers)

    def result(self, request: Request, name: str, version: Named = "", variant: Variant = "") -> Response:
        """The picture that a version made. Raises NotFoundError if it has none."""
        folder = self.found(request, name)
        files = folder.files(folder.commit(version, variant))
        result = result_of(files)
        if not result:
            raise NotFoundError(f"the recipe {name!r} has no picture")
        kind = {**SHOWN, ".jpeg": "image/jpeg"}[f".{result.rpartition('.')[2]}"]
        return Response(files[result], media_type=kind, headers=SAFE)

    def delete(self, request: Request, name: str) -> DeletedAnswer:
        """Delete a recipe with its history, for who saved its first version, or an admin."""
        deleted, versions = self.recipes.delete(self.routes.access.bearer(request), name)
        return DeletedAnswer(name=deleted, versions=versions)

    def made_from(self, request: Request, id: str, n: int) -> Response:  # noqa: A002
        """The request that made picture `n` of a job, as a job in YAML with its pictures in base64."""
        job = self.routes.job(self.reader(request), id)
        made = made_from(self.routes.service, job, n)
        return yaml_answer(made.recipe.job, f"{id}-{n}.yaml")


def version_answer(version: Version) -> VersionAnswer:
    """A version as an answer."""
    return VersionAnswer(id=version.id, saved=version.saved, message=version.message, author=version.author)


def add_recipe_routes(add: Add, routes: Routes) -> None:
    """Add the REST routes of recipes."""
    own = RecipeRoutes(routes)
    add("GET", "/recipes", own.listed, response_model=list[ListedRecipeAnswer])
    saved: dict[str, Any] = {"response_model": list[SavedAnswer], "openapi_extra": body_of(SaveRecipe)}
    add("POST", "/recipes", own.save, 404, 413, 507, status_code=201, **saved)
    add("GET", ONE, own.get, 404, response_model=WholeRecipeAnswer)
    add("DELETE", ONE, own.delete, 403, 404, response_model=DeletedAnswer)
    add("GET", f"{ONE}/history", own.history, 404, response_model=list[VersionAnswer])
    add("GET", f"{ONE}/diff", own.difference, 404, response_model=DifferenceAnswer)
    restored: dict[str, Any] = {"openapi_extra": body_of(RecipeVersionBody)}
    add("POST", f"{ONE}/restore", own.restore, 404, 507, response_model=VersionAnswer, **restored)
    again: dict[str, Any] = {"response_model": WholeJobAnswer, "openapi_extra": body_of(RecipeJobBody)}
    add("POST", f"{ONE}/jobs", own.again, 404, 429, 507, status_code=201, **again)
    for path, function, kind in (
        (f"{ONE}/job", own.job, "application/yaml"),
        (f"{ONE}/zip", own.zip, "application/zip"),
        (f"{ONE}/result", own.result, "image/*"),
        ("/jobs/{id}/pictures/{n}/job", own.made_from, "application/yaml"),
    ):
        responses = {200: {"content": {kind: {}}, "description": "the file"}}
        add("GET", path, function, 404, responses=responses, response_class=Response)
