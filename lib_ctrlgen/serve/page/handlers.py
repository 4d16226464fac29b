"""What the page's buttons and its timer do."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.unit_fields import NO_MODEL
from lib_ctrlgen.serve.access import Access, NotAllowedError
from lib_ctrlgen.serve.answers import job_answer, whole_answer
from lib_ctrlgen.serve.models import Models, queued
from lib_ctrlgen.serve.records import Job
from lib_ctrlgen.serve.routes import Routes
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.stories import checked_story
from lib_ctrlgen.serve.users import User

from .form import UnitValues, job_of_form
from .story_form import story_of_files
from .views import error_text, head, job_label, jobs_table, kept_line, result_view

LISTED = 30
FIELDS = ("prompt", "negative_prompt", "model", "width", "height", "steps", "cfg_scale", "seed", "batch_size")
UNIT_FIELDS = ("model", "image", "preprocessor", "weight")
SAID = '<p role="status">{text}</p>'
CHOOSE = '<p class="quiet">Choose a job to see its pictures.</p>'


@dataclass(frozen=True)
class Handlers:
    """The functions behind the page. `request.username` is the user whom the session names."""

    service: Service
    access: Access
    models: Models

    def user(self, request: gradio.Request) -> User:
        """The user of a request. Raises NotAllowedError."""
        user = self.access.named(str(request.username or ""))
        if user is None:
            raise NotAllowedError("log in again")
        return user

    def opened(self, request: gradio.Request) -> list[Any]:
        """Fill the head and the lists of names when the page opens."""
        user, names = self.user(request), self.models.answer()
        checkpoint = gradio.update(choices=names.checkpoints, value=next(iter(names.checkpoints), None))
        controls = gradio.update(choices=[NO_MODEL, *names.controls], value=NO_MODEL)
        return [head(user), checkpoint, controls, controls]

    def submit(self, *values: Any, request: gradio.Request) -> tuple[str, Any]:
        """Queue the job of the form; returns a message, and the job as the chosen one."""
        try:
            user = self.user(request)
            fields = dict(zip(FIELDS, values, strict=False))
            rest = values[len(FIELDS) : -1]
            units = [
                UnitValues(**dict(zip(UNIT_FIELDS, rest[start : start + len(UNIT_FIELDS)], strict=True)))
                for start in range(0, len(rest), len(UNIT_FIELDS))
            ]
            job = queued(self.service, self.models, user, job_of_form(fields, units, str(values[-1] or "")))
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        return self.told(user, job)

    def submit_story(self, files: list[str] | None, request: gradio.Request) -> tuple[str, Any]:
        """Queue the story of uploaded files; returns a message, and the job as the chosen one."""
        try:
            user, limits = self.user(request), self.service.limits
            story = story_of_files([Path(file) for file in files or ()], limits.upload)
            job = self.service.submit(user, checked_story(story, limits, self.models))
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        return self.told(user, job)

    def told(self, user: User, job: Job) -> tuple[str, Any]:
        """A message for a queued job, and the list of choices with it."""
        message = f"Queued: {escape(job.title) or '(no prompt)'}"
        return SAID.format(text=message), gradio.update(choices=self.choices(user), value=job.id)

    def choices(self, user: User) -> list[tuple[str, str]]:
        """The user's newest jobs for the list of choices."""
        return [(job_label(job_answer(job, self.service)), job.id) for job in self.jobs(user)]

    def jobs(self, user: User) -> list[Job]:
        """The newest jobs that a user sees."""
        return self.service.store.listed(None if user.is_admin else user.name, most=LISTED)

    def refreshed(
        self, chosen: str | None, known: list[str], shown: str, request: gradio.Request
    ) -> tuple[Any, Any, Any, Any, Any]:
        """The table, the choices and the result if they changed; the ids and the result last shown."""
        user = self.user(request)
        jobs = self.jobs(user)
        ids = [job.id for job in jobs]
        table = jobs_table([job_answer(job, self.service) for job in jobs], user)
        table += kept_line(self.service.store.kept.of(user.name), self.service.limits)
        choices = gradio.skip() if ids == known else gradio.update(choices=self.choices(user))
        view = self.view(user, chosen)
        return table, choices, gradio.skip() if view == shown else view, ids, view

    def view(self, user: User, chosen: str | None) -> str:
        """The result of the chosen job."""
        if not chosen:
            return CHOOSE
        try:
            return result_view(whole_answer(self.job(user, chosen), self.service))
        except CtrlGenError as error:
            return error_text(error)

    def cancel(self, chosen: str | None, request: gradio.Request) -> str:
        """Cancel the chosen job, if it waits or runs."""
        try:
            job = self.job(self.user(request), chosen)
            if not job.is_live:
                return SAID.format(text=f"This job is {job.state} already.")
            self.service.cancel(job)
        except CtrlGenError as error:
            return error_text(error)
        return SAID.format(text="Cancelled: a running job ends after its current step.")

    def remove(self, chosen: str | None, request: gradio.Request) -> tuple[str, Any]:
        """Remove the chosen job and its files, if it has ended."""
        try:
            user = self.user(request)
            job = self.job(user, chosen)
            if job.is_live:
                return SAID.format(text="This job has not ended: cancel it first."), gradio.skip()
            self.service.remove(job)
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        return SAID.format(text="Removed."), gradio.update(choices=self.choices(user), value=None)

    def job(self, user: User, chosen: str | None) -> Job:
        """A job that a user may see. Raises NotFoundError."""
        return Routes(self.service, self.access, self.models).job(user, chosen or "")
