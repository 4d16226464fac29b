"""The REST routes of sd-webui-controlnet below /controlnet, with its answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from modules import shared

from lib_ctrlgen.compat.control_types import control_types, module_answer
from lib_ctrlgen.webui.api import require_login
from lib_ctrlgen.webui.settings import model_store

from .counts import unit_count
from .detection import detect
from .model_names import labels
from .name import ALWAYS, SETTING, answers_to_name, taken_note
from .poses import render

logger = logging.getLogger("ctrlgen")
ROOT = "/controlnet"
VERSION = 3  # of sd-webui-controlnet's API


def add_controlnet_routes(demo: Any, app: FastAPI) -> None:
    """Add the routes if the WebUI serves its API and CtrlGen answers to the name.

    They have the login of `--api-auth`. The log says so where another extension has the name.
    """
    del demo
    if note := taken_note():
        logger.warning("%s", note)
    if not (shared.cmd_opts.api or shared.cmd_opts.nowebui) or not answers_to_name():
        return
    guards = [Depends(require_login)] if shared.cmd_opts.api_auth else []
    before = len(app.router.routes)
    for name, answer in GETS.items():
        app.add_api_route(f"{ROOT}/{name}", answer, methods=["GET"], dependencies=guards)
    posts: dict[str, Callable[..., Any]] = {"detect": detect, "render_openpose_json": render}
    for name, post in posts.items():
        app.add_api_route(f"{ROOT}/{name}", post, methods=["POST"], dependencies=guards)
    if shared.opts.data.get(SETTING) == ALWAYS:  # of two routes with one path the first one answers
        routes = app.router.routes
        routes[:] = [*routes[before:], *routes[:before]]


def version() -> dict[str, int]:
    """Return the version of sd-webui-controlnet's API."""
    return {"version": VERSION}


def model_list(update: bool = True) -> dict[str, Any]:
    """Return the models as `stem [hash8]`. `?update=false` does not read the model folders again."""
    store = model_store()
    if update:
        store.refresh()
    return {"model_list": labels(store.files)}


def module_list(alias_names: bool = False) -> dict[str, Any]:
    """Return the preprocessors with their sliders; `?alias_names=true` names them by their labels."""
    return module_answer(labels=alias_names)


def types() -> dict[str, Any]:
    """Return the preprocessors and models of each control type."""
    return {"control_types": control_types(labels(model_store().files))}


def settings() -> dict[str, int]:
    """Return how many units the settings name; a request may have more."""
    return {"control_net_unit_count": unit_count()}


GETS: dict[str, Callable[..., Any]] = {
    "version": version,
    "model_list": model_list,
    "module_list": module_list,
    "control_types": types,
    "settings": settings,
}
