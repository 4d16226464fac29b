"""The REST routes. A user sees only the own jobs, an admin those of all users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from lib_ctrlgen import __version__
from lib_ctrlgen.headless.job_text import yaml_text

from .access import Access
from .answers import (
    HealthAnswer,
    JobAnswer,
    MeAnswer,
    ModelsAnswer,
    WholeJobAnswer,
    job_answer,
    limits_answer,
    whole_answer,
)
from .bodies import content_of, read_job
from .errors import NotFoundError
from .made_from import picture_name
from .models import Models, queued
from .once import once_of
from .records import Job, State
from .service import Service
from .users import User

__all__ = ["SAFE", "SHOWN", "NotFoundError", "Routes", "yaml_answer"]

EVENT_SECONDS = 0.25  # between two looks at a job's progress
HEARTBEATS = 60  # looks without a change after which a comment keeps the connection open
SHOWN = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}  # in the page; others are saved
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


class Routes:
    """The functions of the routes."""

    def __init__(self, service: Service, access: Access, models: Models) -> None:
        self.service, self.access, self.models = service, access, models

    def job(self, user: User, name: str) -> Job:
        """A job that a user may see. Raises NotFoundError, also for a job of another user."""
        job = self.service.store.get(name)
        if job is None or not (user.is_admin or job.user == user.name):
            raise NotFoundError(f"you have no job {name!r}")
        return job

    async def post(self, request: Request) -> WholeJobAnswer:
        """Queue a job: a job file as JSON or YAML, or a form with the job and its pictures.

        An error says the place in the job by its JSON path. A job that is sent again with the same header
        `Idempotency-Key` is queued once.
        """
        user = await run_in_threadpool(self.access.bearer, request)
        text, files = await read_job(request)
        once = once_of(request.headers, text, files)
        job = await run_in_threadpool(
            lambda: queued(self.service, self.models, user, content_of(text, files), once)
        )
        return whole_answer(job, self.service)

    def listed(
        self,
        request: Request,
        state: Annotated[State | None, Query(description="only jobs in this state")] = None,
        user: Annotated[str | None, Query(description="for an admin: only jobs of this user")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="the most jobs")] = 100,
        before: Annotated[str | None, Query(description="only jobs older than the one with this id")] = None,
    ) -> list[JobAnswer]:
        """The own jobs, an admin's list has those of all users; the newest first."""
        caller = self.access.reader(request)
        older = self.job(caller, before).number if before else None
        owner = user if caller.is_admin else caller.name
        found = self.service.store.listed(owner, state, limit, older)
        return [job_answer(each, self.service) for each in found]

    def get(self, request: Request, id: str) -> WholeJobAnswer:  # noqa: A002 - the name in the path
        """A job with its settings, its progress and its results."""
        return whole_answer(self.job(self.access.reader(request), id), self.service)

    def delete(self, request: Request, id: str) -> JobAnswer:  # noqa: A002
        """Cancel a job that waits, or one that runs after its current step; remove one that has ended."""
        job = self.job(self.access.bearer(request), id)
        if job.is_live:
            return job_answer(self.service.cancel(job), self.service)
        self.service.remove(job)
        return job_answer(job, self.service)

    def cancel(self, request: Request, id: str) -> JobAnswer:  # noqa: A002
        """Cancel a job that waits or runs, as DELETE does; one that has ended is left as it is."""
        job = self.job(self.access.bearer(request), id)
        return job_answer(self.service.cancel(job), self.service)

    def content(self, request: Request, id: str) -> Response:  # noqa: A002
        """The job as it was sent, as YAML with its pictures in base64; seeds of -1 have their numbers."""
        job = self.job(self.access.reader(request), id)
        return yaml_answer(self.service.store.payload(job), f"{job.id}.yaml")

    async def events(self, request: Request, id: str) -> StreamingResponse:  # noqa: A002
        """Server-sent events: `progress` with the job at each change, last `end` with the whole job."""
        user = await run_in_threadpool(self.access.reader, request)
        await run_in_threadpool(self.job, user, id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(self.told(user, id), media_type="text/event-stream", headers=headers)

    async def told(self, user: User, name: str) -> AsyncIterator[str]:
        """The events of a job until it ends, is removed, or the server is being stopped."""
        last, quiet = "", 0
        while not self.service.stopping.is_set():
            try:
                job = await run_in_threadpool(self.job, user, name)
            except NotFoundError:
                return
            if not job.is_live:
                yield event("end", await run_in_threadpool(whole_answer, job, self.service))
                return
            text = event("progress", job_answer(job, self.service))
            if text != last:
                yield text
            quiet = 0 if text != last else quiet + 1
            last = text
            if quiet % HEARTBEATS == HEARTBEATS - 1:
                yield ": waiting\n\n"
            await asyncio.sleep(EVENT_SECONDS)

    def picture(self, request: Request, id: str, n: int) -> FileResponse:  # noqa: A002
        """Picture `n` of a job that is done, counted from 0: a PNG with its infotext in `parameters`."""
        job = self.job(self.access.reader(request), id)
        return self.answered(job, picture_name(job, n))

    def file(self, request: Request, id: str, path: str) -> FileResponse:  # noqa: A002
        """A file of a job that is done, by its path in `files`."""
        return self.answered(self.job(self.access.reader(request), id), path)

    def answered(self, job: Job, name: str) -> FileResponse:
        """A file; what is no picture is to be saved, not shown. Raises NotFoundError."""
        path = self.service.folders.file(job, name) if job.state == "done" else None
        if path is None:
            raise NotFoundError(f"the job {job.id!r} has no file {name!r}")
        kind = SHOWN.get(path.suffix)
        plain = PurePosixPath(name).name
        if kind is not None:
            return FileResponse(path, media_type=kind, headers=SAFE)
        return FileResponse(path, media_type="application/octet-stream", filename=plain, headers=SAFE)

    def zip(self, request: Request, id: str) -> StreamingResponse:  # noqa: A002
        """All files of a job that is done as a zip; a tuner's report opens from its unpacked folder."""
        job = self.job(self.access.reader(request), id)
        if job.state != "done":
            raise NotFoundError(f"the job {id!r} has no files: it is {job.state}")
        headers = {**SAFE, "Content-Disposition": f'attachment; filename="{job.id}.zip"'}
        return StreamingResponse(self.service.folders.zip(job), media_type="application/zip", headers=headers)

    def me(self, request: Request) -> MeAnswer:
        """Who the token belongs to, and the limits."""
        user = self.access.reader(request)
        counts, limits = self.service.store.counts(user.name), limits_answer(self.service.limits)
        kept = self.service.store.kept.of(user.name)
        return MeAnswer(name=user.name, role=user.role, jobs=counts, kept=kept, limits=limits)

    def model_names(self, request: Request) -> ModelsAnswer:
        """The names of models, preprocessors and samplers that a job may use."""
        self.access.reader(request)
        return self.models.answer()

    def health(self) -> JSONResponse:
        """Whether a worker is ready: 200, or 503 while none is. It needs no token."""
        works = bool(self.service.ready) and not self.service.stopping.is_set()
        answer = HealthAnswer(status="ok" if works else "no worker", version=__version__)
        return JSONResponse(asdict(answer), 200 if works else 503)


def yaml_answer(content: Mapping[str, Any], name: str) -> Response:
    """A job as YAML, to be saved under a name."""
    headers = {**SAFE, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return Response(yaml_text(content), media_type="application/yaml", headers=headers)


def event(name: str, answer: JobAnswer) -> str:
    """A server-sent event with an answer as JSON."""
    return f"event: {name}\ndata: {json.dumps(asdict(answer))}\n\n"
