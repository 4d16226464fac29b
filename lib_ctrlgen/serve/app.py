"""The FastAPI application: the REST routes and the login."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware import Middleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse, Response

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import CtrlGenError

from .access import Access, NotAllowedError
from .adding import adder
from .answers import HealthAnswer, JobAnswer, MeAnswer, ModelsAnswer, WholeJobAnswer
from .bodies import BodyLimit, detail
from .login import add_login
from .models import Models
from .openapi import body_of_job, completed
from .recipe_routes import BODIES, add_recipe_routes
from .routes import Routes
from .service import Service
from .story_routes import add_story_routes

LOG = logging.getLogger("ctrlgen.serve")
TITLE = "CtrlGen"
ABOUT = "Jobs of a team, in a queue that is fair between users. See docs/server.md."
PICTURE: dict[int | str, Any] = {200: {"content": {"image/png": {}}, "description": "the picture"}}
FILE: dict[int | str, Any] = {200: {"content": {"application/octet-stream": {}}, "description": "the file"}}
YAML: dict[int | str, Any] = {200: {"content": {"application/yaml": {}}, "description": "the job"}}
ZIP: dict[int | str, Any] = {200: {"content": {"application/zip": {}}, "description": "the files"}}
EVENTS: dict[int | str, Any] = {200: {"content": {"text/event-stream": {}}, "description": "the events"}}

Close = Callable[[], None]


def create_app(service: Service, access: Access, models: Models, close: Close | None = None) -> FastAPI:
    """The application without the page; `close` is called when the server ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if close is not None:
            close()

    limit = Middleware(BodyLimit, most=service.limits.upload, require_free=service.storage.require_free)
    app = FastAPI(
        title=TITLE, version=__version__, description=ABOUT, lifespan=lifespan, middleware=[limit],
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    add_routes(app, Routes(service, access, models))
    add_login(app, access)
    add_errors(app)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=TITLE, version=__version__, description=ABOUT, routes=app.routes)
            app.openapi_schema = completed(found, BODIES)
        return dict(app.openapi_schema)

    app.openapi = document
    return app


def add_routes(app: FastAPI, routes: Routes) -> None:
    """Add the REST routes."""
    add = adder(app)
    add(
        "POST", "/jobs", routes.post, 413, 429, 507,
        status_code=201, response_model=WholeJobAnswer, openapi_extra=body_of_job(),
    )  # fmt: skip
    add("GET", "/jobs", routes.listed, 404, response_model=list[JobAnswer])
    add("GET", "/jobs/{id}", routes.get, 404, response_model=WholeJobAnswer)
    add("DELETE", "/jobs/{id}", routes.delete, 404, response_model=JobAnswer)
    add("POST", "/jobs/{id}/cancel", routes.cancel, 404, response_model=JobAnswer)
    add("GET", "/jobs/{id}/job", routes.content, 404, responses=YAML, response_class=Response)
    add("GET", "/jobs/{id}/events", routes.events, 404, responses=EVENTS, response_class=Response)
    add("GET", "/jobs/{id}/pictures/{n}", routes.picture, 404, responses=PICTURE, response_class=FileResponse)
    add("GET", "/jobs/{id}/files/{path:path}", routes.file, 404, responses=FILE, response_class=FileResponse)
    add("GET", "/jobs/{id}/zip", routes.zip, 404, responses=ZIP, response_class=Response)
    add("GET", "/models", routes.model_names, response_model=ModelsAnswer)
    add("GET", "/me", routes.me, response_model=MeAnswer)
    add_story_routes(add, routes)
    add_recipe_routes(add, routes)
    busy = {503: {"model": HealthAnswer, "description": "no worker is ready"}}
    app.add_api_route("/health", routes.health, methods=["GET"], response_model=HealthAnswer, responses=busy)


def add_errors(app: FastAPI) -> None:
    """Answer errors of CtrlGen with their status, and others without what happened inside."""

    def known(_request: Request, error: Exception) -> JSONResponse:
        status = getattr(error, "status_code", 500)
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, NotAllowedError) else None
        return JSONResponse(detail(error), status, headers=headers)

    def invalid(_request: Request, error: Exception) -> JSONResponse:
        first = (
            error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
        )
        place = ".".join(map(str, first["loc"]))
        return JSONResponse({"detail": {"path": place, "message": first["msg"]}}, 422)

    app.add_exception_handler(CtrlGenError, known)
    app.add_exception_handler(RequestValidationError, invalid)
