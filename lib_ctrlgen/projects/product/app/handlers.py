"""What the page's fields, buttons and timer do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio
from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.projects.product.environments import text_environments
from lib_ctrlgen.projects.product.history import entries
from lib_ctrlgen.projects.product.result import read_numbers

from . import views
from .form import (
    ENVIRONMENTS,
    FIELDS,
    LABELS,
    Form,
    environments_text,
    form_of,
    values_of,
    with_environment,
)
from .plan import plan_of_form
from .session import Session

SHOWN = 60  # pictures of the history
PICTURE, ALL, DIAGNOSIS = "picture", "all", "diagnosis"  # the tabs
DEPTH = "Depth picture"
GONE = "this picture is not there any more"
LOOKS = ("head", "status", "tried", "batch", "diagnosis", "history", "listed", "seen")
OLDER = "this picture was made by a version that did not keep its settings: they cannot come back"


@dataclass(frozen=True)
class Handlers:
    """The functions behind the page; those of fields get the values of `FIELDS` in their order."""

    session: Session

    def form(self, values: Any) -> Form:
        """The form of the fields' values. Raises RequestError with a label."""
        return form_of(values, self.session.run.settings, self.session.out)

    def opened(self) -> list[Any]:
        """The head and the values of all fields when the page opens."""
        form = self.session.form
        return [self.head(), *values_of(form), *self.planned(form, None)]

    def head(self) -> str:
        """What the page is about."""
        session = self.session
        return views.head_view(session.run.settings.product, session.out, session.adapter_text())

    def changed(self, *values: Any) -> list[Any]:
        """The plan and the list of environments; nothing is made. The last value is the choice."""
        *fields, chosen = values
        try:
            return self.planned(self.form(fields), chosen)
        except CtrlGenError as error:
            return [views.error_text(error), gradio.skip()]

    def planned(self, form: Form, chosen: str | None) -> list[Any]:
        """The plan of one environment, and the environments to choose from."""
        environment = form.environment(chosen)
        prompts = list(dict.fromkeys(each.prompt for each in form.environments))
        kept = {} if chosen in prompts else {"value": environment.prompt}
        choices = gradio.update(choices=prompts, **kept)
        try:
            plan = views.plan_view(plan_of_form(self.session, form, environment))
        except CtrlGenError as error:
            plan = views.error_text(error)
        return [plan, choices]

    def try_one(self, *values: Any) -> list[Any]:
        """Begin one picture, of the environment that the last value names."""
        *fields, chosen = values
        session = self.session
        return self.begin(
            "Try", PICTURE, fields, lambda form: session.try_one(form, form.environment(chosen))
        )

    def make_all(self, *values: Any) -> list[Any]:
        """Begin the pictures of all environments."""
        return self.begin("Make all", ALL, values, self.session.make_all)

    def train(self, *values: Any) -> list[Any]:
        """Begin the training."""
        return self.begin("Train", PICTURE, values, self.session.train)

    def diagnose(self, *values: Any) -> list[Any]:
        """Begin the diagnosis."""
        return self.begin("Diagnose", DIAGNOSIS, values, self.session.diagnose)

    def begin(self, title: str, tab: str, values: Any, task: Callable[[Form], str]) -> list[Any]:
        """Begin a task, and open the tab where its result will be.

        Returns an error as the message if a field is wrong, or another task runs.
        """
        try:
            form = self.form(values)
            plan_of_form(self.session, form, form.environments[0])
            self.session.start(title, form, task)
        except CtrlGenError as error:
            return [views.error_text(error), gradio.skip()]
        return ["", gradio.update(selected=tab)]

    def cancel(self) -> str:
        """Cancel the task that runs."""
        if self.session.worker.cancel():
            return views.said_text("Cancelled: it ends after its current step.")
        return views.said_text("Nothing runs.")

    def looked(self, before: tuple[Any, ...]) -> list[Any]:
        """What changed since the last look, in the order of `LOOKS`; `before` is what that look saw."""
        session, status = self.session, self.session.worker.status
        seen = (status.number, status.running, status.done, session.last)
        shown = views.status_view(status)
        if before[:-1] == seen:
            same = gradio.skip()
            return [same, same if before[-1] == shown else shown, *[same] * 5, (*seen, shown)]
        return [self.head(), shown, *self.results(), (*seen, shown)]

    def results(self) -> list[Any]:
        """The tried picture, the last run, the diagnosis, the history, and the history's names."""
        out, numbers = self.session.out, read_numbers(self.session.out)
        threshold = None if numbers is None else numbers["threshold"]
        listed = entries(out)
        tried = next((each for each in listed if Path(each.folder).name == self.session.last), None)
        listed = listed[:SHOWN]
        return [
            views.picture_view(tried, threshold),
            views.batch_view(out, numbers),
            views.findings_view(self.session.findings(), out),
            [(str(each.thumbnail), views.caption(each, threshold)) for each in listed],
            [Path(each.folder).name for each in listed],
        ]

    def restored(self, listed: list[str], text: str, event: gradio.SelectData) -> list[Any]:
        """A message, the fields of the chosen picture of the history, and their plan.

        `listed` are the names of the shown pictures, `text` the environments, which stay.
        """
        try:
            form, chosen = self.form_of_picture(listed[event.index], text)
        except CtrlGenError as error:
            return [views.error_text(error), *[gradio.skip()] * (len(FIELDS) + 2)]
        said = views.said_text("The settings of this picture are back.")
        plan, choices = self.planned(form, chosen)
        return [said, *values_of(form), plan, {**choices, "value": chosen}]

    def form_of_picture(self, name: str, text: str) -> tuple[Form, str]:
        """The form of a picture of the history, and the prompt of its environment. Raises RequestError."""
        entry = next((each for each in entries(self.session.out) if Path(each.folder).name == name), None)
        if entry is None or entry.settings is None or entry.environment is None:
            raise RequestError("", GONE if entry is None else OLDER)
        own = entry.environment
        try:
            others = text_environments(text, "", self.session.out)
        except RequestError:  # what is being written is no list
            others = []
        settings = replace(entry.settings, model=self.session.run.settings.model)
        return Form(settings=settings, environments=with_environment(others, own)), own.prompt

    def with_depth(self, text: str, chosen: str | None, picture: Image.Image | None) -> tuple[str, Any]:
        """A message, and the list in which the chosen environment has the picture as its depth."""
        try:
            if picture is None:
                raise RequestError(DEPTH, "choose a picture of the empty environment, nearer is brighter")
            listed = text_environments(text, LABELS[ENVIRONMENTS], self.session.out)
            if all(each.prompt != chosen for each in listed):
                raise RequestError(DEPTH, "choose the environment that it belongs to")
            path = self.session.save_depth(picture).relative_to(self.session.out)
        except CtrlGenError as error:
            return views.error_text(error), gradio.skip()
        found = [replace(each, depth=str(path)) if each.prompt == chosen else each for each in listed]
        return views.said_text(f"{chosen} has this depth picture now."), environments_text(found)
