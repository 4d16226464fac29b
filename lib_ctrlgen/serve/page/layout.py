"""The page's fields, and which function each event calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio

from lib_ctrlgen.forms.unit_fields import NO_MODEL
from lib_ctrlgen.request.catalogue import preprocessor_names

from .handlers import CHOOSE, Handlers
from .recipes_part import build_recipes, build_save

UNITS = 2
SECONDS = 1.0  # between two looks at the jobs
CACHE = (3600, 24 * 3600)  # seconds: pictures of forms are removed after a day
MORE = (
    "The job as YAML: what the form has no field for, such as sampler, blend or tune. It wins over the form."
)
STORY = "The story file and all pictures that it names, chosen or dropped together."
QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


@dataclass(frozen=True)
class FormParts:
    """The form's fields as a handler gets them, and those whose choices are filled later."""

    fields: Sequence[Any]
    checkpoint: Any
    controls: Sequence[Any]
    send: Any
    message: Any


def build_page(handlers: Handlers) -> gradio.Blocks:
    """The page."""
    with gradio.Blocks(title="CtrlGen", analytics_enabled=False, delete_cache=CACHE) as page:
        top = gradio.HTML()
        with gradio.Row():
            with gradio.Column(scale=3, min_width=360):
                form = build_form()
                files, send_story = build_story()
            with gradio.Column(scale=4, min_width=360):
                table = gradio.HTML(elem_id="jobs")
                job = gradio.Dropdown([], value=None, label="Job", elem_id="job", allow_custom_value=True)
                with gradio.Row():
                    cancel = gradio.Button("Cancel", elem_id="cancel")
                    remove = gradio.Button("Remove", elem_id="remove")
                save = build_save()
                said = gradio.HTML(elem_id="said")
                result = gradio.HTML(CHOOSE, elem_id="result")
        known, shown = gradio.State([]), gradio.State("")
        looks = [table, job, result, known, shown]
        seen = [job, known, shown]
        timer = gradio.Timer(SECONDS)
        page.load(handlers.opened, None, [top, form.checkpoint, *form.controls], **QUIET)
        timer.tick(handlers.refreshed, seen, looks, **QUIET)
        job.change(handlers.refreshed, seen, looks, **QUIET)
        form.send.click(with_request(handlers), list(form.fields), [form.message, job], **QUIET)
        send_story.click(handlers.submit_story, files, [form.message, job], **QUIET)
        cancel.click(handlers.cancel, job, said, **QUIET)
        remove.click(handlers.remove, job, [said, job], **QUIET)
        build_recipes(page, handlers, job, said, save, QUIET)
    return page


def with_request(handlers: Handlers) -> Any:
    """The handler of the form; gradio finds the request by its annotation, and passes it in its place."""

    def submit(request: gradio.Request, *values: Any) -> tuple[str, Any]:
        return handlers.submit(*values, request=request)

    submit.__annotations__["request"] = gradio.Request
    return submit


def build_form() -> FormParts:
    """The fields of a job."""
    prompt = gradio.Textbox(label="Prompt", lines=3, elem_id="prompt")
    negative = gradio.Textbox(label="Negative prompt", lines=1, elem_id="negative")
    checkpoint = gradio.Dropdown([], label="Model", elem_id="model", allow_custom_value=True)
    with gradio.Row():
        sizes = [
            gradio.Number(
                512, label=label, precision=0, minimum=64, step=8, elem_id=label.lower(), min_width=90
            )
            for label in ("Width", "Height")
        ]
        steps = gradio.Number(20, label="Steps", precision=0, elem_id="steps", min_width=90)
    with gradio.Row():
        scale = gradio.Textbox("7", label="CFG scale", elem_id="cfg_scale", min_width=90)
        seed = gradio.Number(-1, label="Seed (-1: any)", precision=0, elem_id="seed", min_width=90)
        count = gradio.Number(1, label="Pictures", precision=0, elem_id="pictures", min_width=90)
    units = [build_unit(number) for number in range(UNITS)]
    with gradio.Accordion("More settings (YAML)", open=False):
        gradio.HTML(f"<p>{MORE}</p>")
        more = gradio.Textbox(label="YAML", lines=6, elem_id="more")
    send = gradio.Button("Queue", variant="primary", elem_id="queue")
    message = gradio.HTML(elem_id="message")
    fields = [prompt, negative, checkpoint, *sizes, steps, scale, seed, count]
    fields += [field for unit in units for field in unit]
    return FormParts([*fields, more], checkpoint, [unit[0] for unit in units], send, message)


def build_story() -> tuple[Any, Any]:
    """The field for a story's files, and the button that queues it."""
    with gradio.Accordion("Story", open=False, elem_id="story"):
        gradio.HTML(f"<p>{STORY}</p>")
        files = gradio.File(
            label="Story file and pictures",
            file_count="multiple",
            type="filepath",
            height=140,
            elem_id="story_files",
        )
        send = gradio.Button("Queue story", elem_id="queue_story")
    return files, send


def build_unit(number: int) -> list[Any]:
    """The fields of one unit."""
    own = f"unit{number}"
    with gradio.Accordion(f"Unit {number}", open=False, elem_id=own):
        model = gradio.Dropdown(
            [NO_MODEL],
            value=NO_MODEL,
            label="Control model",
            elem_id=f"unit{number}_model",
            allow_custom_value=True,
        )
        image = gradio.Image(
            label="Picture",
            type="pil",
            image_mode=None,
            sources=["upload"],
            height=220,
            elem_id=f"unit{number}_image",
        )
        with gradio.Row():
            preprocessor = gradio.Dropdown(
                list(preprocessor_names()),
                value="none",
                label="Preprocessor",
                elem_id=f"unit{number}_preprocessor",
            )
            weight = gradio.Textbox("1", label="Weight or schedule", elem_id=f"{own}_weight")
    return [model, image, preprocessor, weight]
