"""What the extension does when the WebUI has started: it adds its REST routes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, FastAPI
from modules import shared

from .controlnet.name import ALWAYS, OLD_ROOT, SETTING, answers_to_name, taken_note
from .late_routes import add_late_routes
from .openapi import ROOT

logger = logging.getLogger("ctrlgen")


def serves_api() -> bool:
    """Whether the WebUI serves its REST API."""
    return bool(shared.cmd_opts.api or shared.cmd_opts.nowebui)


def add_routes(demo: Any, app: FastAPI) -> None:
    """Add the routes below /ctrlgen/v1: all if the WebUI serves its API, else those of the tuner's report."""
    del demo

    def fill(router: APIRouter) -> None:
        from . import api

        add = api.add_routes if serves_api() else api.add_report_routes
        add(router, app)

    add_late_routes(app, ROOT, fill)


def add_controlnet_routes(demo: Any, app: FastAPI) -> None:
    """Add the routes of sd-webui-controlnet if the WebUI serves its API and CtrlGen answers for ControlNet.

    The log says so where another extension has the name.
    """
    del demo

    def fill(router: APIRouter) -> None:
        from .controlnet.routes import add_routes as add

        add(router)

    if note := taken_note():
        logger.warning("%s", note)
    if not serves_api() or not answers_to_name():
        return
    late = add_late_routes(app, OLD_ROOT, fill)
    if shared.opts.data.get(SETTING) == ALWAYS:  # of two routes with one path the first one answers
        routes = app.router.routes
        routes[:] = [late, *(each for each in routes if each is not late)]
