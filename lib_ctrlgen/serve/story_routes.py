"""The REST routes of stories. What is the same for all jobs is in `routes`."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from .adding import Add
from .answers import WholeJobAnswer, whole_answer
from .asset_answers import asset_answers, picture_of
from .bodies import content_of, read_job
from .errors import NotFoundError
from .once import once_of
from .openapi import body_of_story
from .posted import STORY
from .routes import SAFE, Routes
from .stories import checked_story

PNG = "image/png"
PICTURE: dict[int | str, Any] = {200: {"content": {PNG: {}}, "description": "the picture"}}


class StoryRoutes:
    """The functions of the routes."""

    def __init__(self, routes: Routes) -> None:
        self.routes, self.service, self.models = routes, routes.service, routes.models

    async def post(self, request: Request) -> WholeJobAnswer:
        """Queue a story: a story file as JSON or YAML, or a form with the story and its pictures.

        It becomes a job whose assets are made one after another. An error says the place in the story by its
        JSON path, or the asset. A story that is sent again with the same header `Idempotency-Key` is queued
        once.
        """
        user = await run_in_threadpool(self.routes.access.bearer, request)
        text, files = await read_job(request, STORY)
        once = once_of(request.headers, text, files)

        def queued() -> WholeJobAnswer:
            checked = checked_story(content_of(text, files, STORY), self.service.limits, self.models)
            return whole_answer(self.service.submit(user, checked, once), self.service)

        answer: WholeJobAnswer = await run_in_threadpool(queued)
        return answer

    def asset(self, request: Request, id: str, name: str) -> FileResponse:  # noqa: A002
        """The picture of a story's asset as PNG, as soon as it is made, also while the job runs."""
        job = self.routes.job(self.routes.access.reader(request), id)
        found = next((each for each in asset_answers(job, self.service.folders) if each.name == name), None)
        if found is None or not found.made:
            raise NotFoundError(f"the job {id!r} has no finished asset {name!r}")
        return FileResponse(picture_of(job, name, self.service.folders), media_type=PNG, headers=SAFE)


def add_story_routes(add: Add, routes: Routes) -> None:
    """Add the REST routes of stories."""
    own = StoryRoutes(routes)
    add(
        "POST", "/stories", own.post, 413, 429, 507,
        status_code=201, response_model=WholeJobAnswer, openapi_extra=body_of_story(),
    )  # fmt: skip
    add("GET", "/jobs/{id}/assets/{name}", own.asset, 404, responses=PICTURE, response_class=FileResponse)
