"""The REST routes under /ctrlgen/v1: models, preprocessors, plans, detection, jobs, recipes, trainings."""

from __future__ import annotations

from collections.abc import Callable
from secrets import compare_digest
from typing import Any

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import scripts, shared

from lib_ctrlgen import __version__
from lib_ctrlgen import preprocessors as known
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.plots.plan_view import plan_svg, plan_table, shown_plan
from lib_ctrlgen.preprocessors.isolated.environment import environment_of
from lib_ctrlgen.request.spec import ControlRequest, json_schema, parse_request

from . import recipes
from .comments import texts_without_comments
from .detect import detect
from .faces import faces
from .model_list import listed_row, models_here
from .openapi import ROOT
from .openapi.document import operation_id
from .openapi.routes import MAX_STEPS, Route
from .openapi.table import all_routes
from .settings import model_store
from .training.routes import training_functions
from .tuner.cell_recipe import post_cell_recipe
from .tuner.jobs import TuneJobs
from .tuner.ratings import RatingRoutes
from .tuner.report_routes import REPORT_ROUTES, own_page

PROMPTS = {"prompt": "$.prompt", "negative_prompt": "$.negative_prompt"}


def add_routes(router: APIRouter, app: FastAPI) -> None:
    """Add the routes of a WebUI's application, with the same login as the WebUI's own (`--api-auth`)."""
    guards = [Depends(require_login)] if shared.cmd_opts.api_auth else []
    functions = route_functions(TuneJobs(app), RatingRoutes())
    for route in all_routes():
        add_route(router, route, functions[route.method, route.path], guards)


def add_report_routes(router: APIRouter, app: FastAPI) -> None:
    """Add only the routes of the tuner's report, with the login of the WebUI's page."""
    functions = route_functions(TuneJobs(app), RatingRoutes())
    for route in all_routes():
        if (key := (route.method, route.path)) in REPORT_ROUTES:
            add_route(router, route, functions[key], [Depends(own_page(app))])


def add_route(router: APIRouter, route: Route, function: Callable[..., Any], guards: list[Any]) -> None:
    """Add one route with its description."""
    file: dict[str, Any] = {"response_class": FileResponse} if route.answer is None else {}
    router.add_api_route(
        f"{ROOT}/{route.path}",
        function,
        methods=[route.method],
        dependencies=guards,
        status_code=route.status,
        summary=route.summary,
        description=route.description,
        operation_id=operation_id(route),
        responses=route.responses,
        openapi_extra=route.extra,
        **file,
    )


def route_functions(jobs: TuneJobs, ratings: RatingRoutes) -> dict[tuple[str, str], Callable[..., Any]]:
    """The function of each route, by its method and its path below `ROOT`."""
    return {
        ("GET", "models"): models,
        ("GET", "preprocessors"): preprocessors,
        ("GET", "schema"): schema,
        ("POST", "plan"): plan,
        ("POST", "faces"): faces,
        ("POST", "detect"): detect,
        ("POST", "tune"): jobs.post,
        ("GET", "tune"): jobs.listed,
        ("GET", "tune/{name}"): jobs.get,
        ("DELETE", "tune/{name}"): jobs.delete,
        ("GET", "tune/{name}/files/{path:path}"): jobs.file,
        ("GET", "recipes"): recipes.list_recipes,
        ("POST", "recipes"): recipes.post_recipe,
        ("GET", "recipes/{recipe}"): recipes.get_recipe,
        ("PUT", "recipes/{recipe}"): recipes.put_recipe,
        ("PATCH", "recipes/{recipe}"): recipes.patch_recipe,
        ("DELETE", "recipes/{recipe}"): recipes.delete_recipe,
        ("POST", "recipes/{recipe}/restore"): recipes.restore_recipe,
        ("POST", "recipes/{recipe}/variants"): recipes.post_variant,
        ("GET", "recipes/{recipe}/zip"): recipes.recipe_zip,
        ("GET", "recipes/{recipe}/history"): recipes.recipe_history,
        ("GET", "recipes/{recipe}/diff"): recipes.recipe_diff,
        ("POST", "tune/{name}/recipe"): post_cell_recipe,
        ("GET", "tune/{name}/ratings"): ratings.get,
        ("POST", "tune/{name}/ratings"): ratings.post,
        **training_functions(),
    }


def require_login(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
    """Raise HTTPException 401 unless the login is one of `--api-auth`."""
    given = f"{credentials.username}:{credentials.password}".encode()
    known = [pair.encode() for pair in shared.cmd_opts.api_auth.split(",")]
    if not any(compare_digest(given, pair) for pair in known):
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})


def models(refresh: bool = False, hashes: bool = False, details: bool = True) -> dict[str, Any]:
    """Return the names of the control models, and in `files` what each of them is.

    `?refresh=true` reads the model folders again. `?hashes=true` adds each model's `name [hash]`, which a
    request may name and an infotext records. `?details=false` leaves out `files`, for which files that were
    not listed before are opened.
    """
    store = model_store()
    if refresh:
        store.refresh()
    found: dict[str, Any] = {"version": __version__, "models": store.names()}
    found |= {"hashed": store.files.labels()} if hashes else {}
    return found | ({"files": [listed_row(row) for row in models_here()]} if details else {})


def preprocessors() -> dict[str, Any]:
    """Return the preprocessors with their parameters: kind, default, bounds and step of each.

    `reads` is what the unit's picture must be, `pose` whether the preprocessor also returns OpenPose JSON,
    `environment` the environment that it needs, or null, and whether that is installed.
    """
    found = [_described(each) for each in known.preprocessors()]
    return {"version": __version__, "preprocessors": found}


def _described(each: known.Preprocessor) -> dict[str, Any]:
    needed = environment_of(each.name)
    return {
        "name": each.name,
        "title": each.title,
        "params": [vars(param) for param in known.params_of(each)],
        "reads": "pose" if each.reads_pose else "picture",
        "pose": isinstance(each, known.PoseDetector),
        "union_type": each.union_type,
        "marks_holes": each.marks_holes,
        "after_unet": bool(each.after_unet),
        "environment": needed and {"name": needed.name, "installed": needed.is_installed},
    }


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a request."""
    return json_schema(ControlRequest)


def plan(payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Return the plan of `{"units": [...], "steps": 20, "prompt": ""}`.

    The answer holds the weights of each step, a text table, a note on what does not act, and an SVG.
    """
    steps = payload.pop("steps", 20)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise RequestError("$.steps", f"expected a whole number from 1 to {MAX_STEPS}, got {steps!r}")
    prompts = {
        place: text for name, place in PROMPTS.items() if isinstance(text := payload.pop(name, ""), str)
    }
    read = texts_without_comments(prompts, scripts.scripts_txt2img)
    compiled = shown_plan(parse_request(payload), steps, read)
    return {
        "labels": compiled.labels,
        "weights": compiled.weights,
        "note": compiled.note,
        "table": plan_table(compiled),
        "svg": plan_svg(compiled),
    }
