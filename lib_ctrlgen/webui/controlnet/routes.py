"""The REST routes of sd-webui-controlnet below /controlnet, with its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from modules import shared

from lib_ctrlgen.compat.control_types import control_types, module_answer
from lib_ctrlgen.webui.api import require_login
from lib_ctrlgen.webui.settings import model_store

from .counts import unit_count
from .detection import detect
from .model_names import labels
from .name import OLD_ROOT
from .poses import render

VERSION = 3  # of sd-webui-controlnet's API


def add_routes(router: APIRouter) -> None:
    """Add the routes, with the login of `--api-auth`."""
    guards = [Depends(require_login)] if shared.cmd_opts.api_auth else []
    for name, answer in GETS.items():
        router.add_api_route(f"{OLD_ROOT}/{name}", answer, methods=["GET"], dependencies=guards)
    posts: dict[str, Callable[..., Any]] = {"detect": detect, "render_openpose_json": render}
    for name, post in posts.items():
        router.add_api_route(f"{OLD_ROOT}/{name}", post, methods=["POST"], dependencies=guards)


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
