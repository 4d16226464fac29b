"""The routes of the page of dials. All need a session; those that change something also a header.

A form or a link of another page cannot send that header, and a script of another origin only after the
browser has asked this server, which allows it to nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response

from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.spec import parse_json
from lib_ctrlgen.serve.access import Access, NotAllowedError
from lib_ctrlgen.serve.answers import whole_answer
from lib_ctrlgen.serve.bodies import content_of, read_job
from lib_ctrlgen.serve.login import SEE_OTHER
from lib_ctrlgen.serve.made_from import made_from
from lib_ctrlgen.serve.models import Models, queued
from lib_ctrlgen.serve.recipes import TeamRecipes, whole_job
from lib_ctrlgen.serve.records import REQUESTS, Job
from lib_ctrlgen.serve.routes import NotFoundError, Routes
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.users import User

from .names import names_of
from .opened import example, exported, openable
from .preview import PreviewSize, checked_preview
from .previews import Previews

DIALS = "/dials"
HEADER, OWN = "x-ctrlgen", "dials"
NO_REQUEST = "the job {id!r} is no request but of the kind {kind!r}: open one of its pictures"
ASSETS = Path(__file__).resolve().parent / "assets"
EDITORS = Path(__file__).resolve().parents[3] / "javascript" / "editors"
PAGE = "page.html"
SCRIPTS = {"schedule.js": EDITORS, "curve.js": EDITORS}  # shared with the panel in the WebUI
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class RequestBody(Spec, frozen=True, kw_only=True):
    """What the page sends: its request, and for a preview how small it is."""

    request: dict[str, Any]
    size: PreviewSize = PreviewSize()


class DialRoutes:
    """The functions of the routes."""

    def __init__(self, service: Service, access: Access, models: Models) -> None:
        self.service, self.access, self.models = service, access, models
        self.previews = Previews(service)
        self.recipes = TeamRecipes(service, models)

    def user(self, request: Request, *, changes: bool = False) -> User:
        """The user of a request's session. Raises NotAllowedError."""
        user = self.access.session_user(request)
        if user is None:
            raise NotAllowedError("log in again")
        if changes and request.headers.get(HEADER) != OWN:
            raise NotAllowedError("only the page of dials may send this")
        return user

    def page(self, request: Request) -> Response:
        """The page, or the login."""
        if self.access.session_user(request) is None:
            return RedirectResponse("../", SEE_OTHER)
        return self.asset(PAGE)

    def script(self, request: Request, name: str) -> Response:
        """A script or the style of the page."""
        self.user(request)
        return self.asset(name)

    def asset(self, name: str) -> Response:
        """A file of the page. Raises NotFoundError."""
        path = SCRIPTS.get(name, ASSETS) / name
        if path.suffix not in TYPES or path.name != name or not path.is_file():
            raise NotFoundError(f"the page has no file {name!r}")
        return FileResponse(path, media_type=TYPES[path.suffix], headers=HEADERS)

    def names(self, request: Request) -> JSONResponse:
        """What the cards offer."""
        user = self.user(request)
        return JSONResponse({"user": user.name, **names_of(self.models.answer(), self.service.limits)})

    def example(self, request: Request) -> JSONResponse:
        """The example stack."""
        self.user(request)
        return JSONResponse({"request": example()})

    def own_job(self, request: Request, name: str) -> Job:
        """A job that the user of a session may see. Raises NotAllowedError, NotFoundError."""
        return Routes(self.service, self.access, self.models).job(self.user(request), name)

    def job(self, request: Request, id: str) -> JSONResponse:  # noqa: A002 - the name in the path
        """The request of a job, with its pictures."""
        job = self.own_job(request, id)
        if job.kind not in REQUESTS:
            raise NotFoundError(NO_REQUEST.format(id=id, kind=job.kind))
        return JSONResponse({"request": openable(self.service.store.payload(job))})

    def picture(self, request: Request, id: str, n: int) -> JSONResponse:  # noqa: A002
        """The request that made picture `n` of a job: of a story's asset, or of a tuner's cell."""
        made = made_from(self.service, self.own_job(request, id), n)
        return JSONResponse({"request": openable(whole_job(made.recipe))})

    def recipe(self, request: Request, name: str, version: str = "") -> JSONResponse:
        """The request of a recipe's version, by default the newest one. All users see all recipes."""
        self.user(request)
        return JSONResponse({"request": openable(self.recipes.job(name, version))})

    async def open(self, request: Request) -> JSONResponse:
        """The request in a form with a job in YAML or JSON and its pictures."""
        await run_in_threadpool(self.user, request, changes=True)
        text, files = await read_job(request)
        return JSONResponse({"request": await run_in_threadpool(lambda: openable(content_of(text, files)))})

    async def yaml(self, request: Request) -> Response:
        """The request as a job file."""
        await run_in_threadpool(self.user, request, changes=True)
        body = await body_of(request)
        return Response(exported(body.request), media_type="application/yaml", headers=HEADERS)

    async def preview(self, request: Request) -> JSONResponse:
        """Check the whole request and queue its preview, which takes the place of the user's older ones."""
        user = await run_in_threadpool(self.user, request, changes=True)
        body = await body_of(request)

        def submitted() -> dict[str, Any]:
            checked = checked_preview(body.request, body.size, self.service.limits, self.models.checker())
            return {"id": self.previews.submit(user, checked).id}

        return JSONResponse(await run_in_threadpool(submitted), 201)

    def drop(self, request: Request, id: str) -> JSONResponse:  # noqa: A002
        """Cancel and remove an own preview."""
        user = self.user(request, changes=True)
        if (job := self.previews.of(user, id)) is not None:
            self.previews.drop(job)
        return JSONResponse({})

    async def make(self, request: Request) -> JSONResponse:
        """Queue the request as an ordinary job."""
        user = await run_in_threadpool(self.user, request, changes=True)
        body = await body_of(request)
        job = await run_in_threadpool(queued, self.service, self.models, user, body.request)
        answer = await run_in_threadpool(whole_answer, job, self.service)
        return JSONResponse({"id": answer.id, "title": answer.title}, 201)


async def body_of(request: Request) -> RequestBody:
    """What the page sent. Raises RequestError."""
    body = parse_json(await request.body(), RequestBody)
    openable(body.request)
    return body


def add_dials(app: FastAPI, service: Service, access: Access, models: Models) -> None:
    """Add the page's routes; they are for browsers, so the OpenAPI document leaves them out."""
    routes = DialRoutes(service, access, models)

    def add(method: str, path: str, function: Any) -> None:
        app.add_api_route(f"{DIALS}{path}", function, methods=[method], include_in_schema=False)

    add("GET", "/", routes.page)
    add("GET", "/static/{name}", routes.script)
    add("GET", "/names", routes.names)
    add("GET", "/example", routes.example)
    add("GET", "/jobs/{id}", routes.job)
    add("GET", "/jobs/{id}/pictures/{n}", routes.picture)
    add("GET", "/recipes/{name}", routes.recipe)
    add("POST", "/open", routes.open)
    add("POST", "/yaml", routes.yaml)
    add("POST", "/previews", routes.preview)
    add("DELETE", "/previews/{id}", routes.drop)
    add("POST", "/jobs", routes.make)
