"""What the buttons of the tab do: check, start, look, stop, resume, remove."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lib_ctrlgen.errors import CtrlGenError

from .folder import RUNNING, TrainingFolder
from .host import refresh_lists, trainings
from .tab_fields import KINDS, SENT, is_shown, labelled, payload_of
from .tab_view import cost_html, paragraph, preview_files, previews, state_html
from .trainings import RESUMABLE

CHANGED = "The fields have changed since the check: press it again."
KIND_FIELDS = tuple(name for name in SENT if name != "kind")


def shown_fields(kind: str) -> list[Any]:
    """The fields that matter for a kind."""
    return [gr.update(visible=is_shown(name, KINDS[kind])) for name in KIND_FIELDS]


def checked(files: Any, *values: Any) -> list[Any]:
    """Check the training: returns what it costs or the error, the button to start, and what was checked."""
    try:
        payload = payload_of(values)
        found = trainings().check(payload, paths(files), anywhere=True)
    except CtrlGenError as error:
        return [paragraph(labelled(str(error)), "error"), gr.update(interactive=False), ""]
    return [cost_html(found), gr.update(interactive=True), fingerprint(payload, files)]


def started(was_checked: str, files: Any, *values: Any) -> list[Any]:
    """Start the training that was checked: returns a note or the error, and the name of the training."""
    try:
        payload = payload_of(values)
        if fingerprint(payload, files) != was_checked:
            return [paragraph(CHANGED, "error"), gr.update()]
        made = trainings().start(payload, paths(files), anywhere=True)
    except CtrlGenError as error:
        return [paragraph(labelled(str(error)), "error"), gr.update()]
    return [paragraph(f"The training {made.name} was started."), chosen_update(made.name)]


def fingerprint(payload: dict[str, Any], files: Any) -> str:
    """A text that changes with the fields; consent to install or unload does not matter."""
    own = {name: value for name, value in payload.items() if name not in ("install", "unload")}
    return json.dumps([own, [str(path) for path in paths(files)]], sort_keys=True, default=str)


def paths(files: Any) -> list[Path]:
    """The uploaded files."""
    return [Path(getattr(file, "name", file)) for file in files or ()]


def chosen_update(name: str) -> Any:
    """The list of trainings with one of them chosen."""
    return gr.update(choices=[each.name for each in trainings().all()], value=name)


def looked(name: str, before: Any) -> list[Any]:
    """Look at the trainings: state, previews if there are new ones, the list, the three buttons."""
    every = trainings().listed()
    known = trainings().find(name or "")
    running = next((each.name for each in every if each.state in RUNNING), "")
    first = running or (every[0].name if every else "")
    chosen = known or trainings().find(first)
    files = preview_files(chosen)
    seen = [str(file) for file in files]
    pictures = gr.update() if seen == before else previews(files)
    listed = gr.update(choices=[each.name for each in every], value=chosen.name if chosen else None)
    return [state_html(chosen, every), pictures, seen, listed, *buttons(chosen)]


def buttons(chosen: TrainingFolder | None) -> list[Any]:
    """Whether Stop, Resume and Remove can be pressed."""
    answer = chosen.answer() if chosen else None
    state = answer.state if answer else ""
    if chosen and answer and state == "finished" and trainings().is_news(chosen):
        refresh_lists(answer.kind)  # one that was started before this WebUI told nobody
    return [
        gr.update(interactive=state in RUNNING and state != "stopping"),
        gr.update(interactive=state in RESUMABLE),
        gr.update(interactive=bool(state) and state not in RUNNING),
    ]


def stopped(name: str) -> str:
    """Ask the chosen training to stop."""
    return acted(name, lambda training: trainings().stop(training))


def resumed(name: str, install: bool) -> str:
    """Go on with the chosen training."""
    return acted(name, lambda training: trainings().resume(training, install=bool(install)))


def removed(name: str) -> str:
    """Remove the chosen training."""
    return acted(name, lambda training: trainings().remove(training))


def acted(name: str, act: Callable[[TrainingFolder], Any]) -> str:
    """Do something with a training; returns the error as HTML, or nothing."""
    training = trainings().find(name or "")
    if training is None:
        return paragraph("Choose a training first.", "error")
    try:
        act(training)
    except CtrlGenError as error:
        return paragraph(labelled(str(error)), "error")
    return ""
