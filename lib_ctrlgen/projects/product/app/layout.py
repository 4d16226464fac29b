"""The page's fields, and which function each event calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio

from lib_ctrlgen.request.sampler_names import sampler_names

from . import views
from .form import FIELDS, LABELS, weight_text
from .handlers import ALL, DEPTH, DIAGNOSIS, PICTURE, Handlers

SECONDS = 0.7  # between two looks at what runs
CACHE = (3600, 24 * 3600)  # seconds: uploaded pictures are removed after a day
LINES = (
    "One a line; {product} becomes the product. Behind it may stand: | depth=rock.png x=0.4 y=0.7 share=0.3"
)
WEIGHT = "0 to 2, or a schedule such as 1>0.5, or 1 in 0.2..0.8"
QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


@dataclass(frozen=True)
class Actions:
    """The buttons, and the choice of an environment."""

    chosen: Any
    tries: Any
    makes: Any
    cancels: Any
    diagnoses: Any
    trains: Any


def build_page(handlers: Handlers) -> gradio.Blocks:
    """The page."""
    with gradio.Blocks(title="CtrlGen product", analytics_enabled=False, delete_cache=CACHE) as page:
        head = gradio.HTML(elem_id="head")
        with gradio.Row():
            with gradio.Column(scale=3, min_width=340):
                fields = build_fields(handlers)
                depth = build_depth()
            with gradio.Column(scale=4, min_width=340):
                plan = gradio.HTML(elem_id="plan")
                actions = build_actions(is_trained=handlers.session.run.adapter is None)
                said = gradio.HTML(elem_id="said")
                status = gradio.HTML(elem_id="status")
                tabs, results = build_results()
        history = build_history()
        listed, seen = gradio.State([]), gradio.State(())
        looks = [head, status, *results, history, listed, seen]
        form = list(fields.values())
        planned = [plan, actions.chosen]
        page.load(handlers.opened, None, [head, *form, *planned], **QUIET)
        gradio.Timer(SECONDS).tick(handlers.looked, seen, looks, **QUIET)
        gradio.on(
            [each.change for each in form],
            handlers.changed,
            [*form, actions.chosen],
            planned,
            trigger_mode="always_last",
            **QUIET,
        )
        actions.chosen.input(handlers.changed, [*form, actions.chosen], planned, **QUIET)
        wire(handlers, actions, form, [said, tabs])
        history.select(handlers.restored, [listed, fields["environments"]], [said, *form, *planned], **QUIET)
        depth[1].click(
            handlers.with_depth,
            [fields["environments"], actions.chosen, depth[0]],
            [said, fields["environments"]],
            **QUIET,
        )
    return page


def build_results() -> tuple[Any, list[Any]]:
    """The tabs, and what is in them: the tried picture, all environments, the diagnosis."""
    with gradio.Tabs(selected=PICTURE) as tabs:
        with gradio.Tab("Picture", id=PICTURE):
            tried = gradio.HTML(views.NOT_TRIED, elem_id="tried")
        with gradio.Tab("All environments", id=ALL):
            batch = gradio.HTML(views.NOT_RUN, elem_id="batch")
        with gradio.Tab("Diagnosis", id=DIAGNOSIS):
            diagnosis = gradio.HTML(views.NOT_DIAGNOSED, elem_id="diagnosis")
    return tabs, [tried, batch, diagnosis]


def build_history() -> Any:
    """The pictures that were made in the folder."""
    gradio.HTML(views.HISTORY)
    return gradio.Gallery(
        label="History",
        show_label=False,
        elem_id="history",
        columns=6,
        allow_preview=False,
        interactive=False,
        object_fit="contain",
        height="auto",
        buttons=[],
    )


def wire(handlers: Handlers, actions: Actions, form: list[Any], said: list[Any]) -> None:
    """What the buttons call. `said` are the message and the tabs."""
    actions.tries.click(handlers.try_one, [*form, actions.chosen], said, **QUIET)
    actions.makes.click(handlers.make_all, form, said, **QUIET)
    actions.cancels.click(handlers.cancel, None, said[0], **QUIET)
    actions.diagnoses.click(handlers.diagnose, form, said, **QUIET)
    actions.trains.click(handlers.train, form, said, **QUIET)


def build_actions(*, is_trained: bool) -> Actions:
    """The buttons. `is_trained` says whether the adapter is one that is trained here."""
    with gradio.Row(elem_classes="bottom"):
        chosen = gradio.Dropdown(
            [], label="Environment to try", elem_id="chosen", allow_custom_value=True, scale=3
        )
        tries = gradio.Button("Try", variant="primary", elem_id="try", scale=1, min_width=90)
    with gradio.Row():
        makes = gradio.Button("Make all", variant="primary", elem_id="make", min_width=90)
        cancels = gradio.Button("Cancel", elem_id="cancel", min_width=90)
        diagnoses = gradio.Button("Diagnose", elem_id="diagnose", min_width=90)
        trains = gradio.Button("Train", elem_id="train", min_width=90, visible=is_trained)
    return Actions(chosen, tries, makes, cancels, diagnoses, trains)


def build_fields(handlers: Handlers) -> dict[str, Any]:
    """The fields by name, in the order of `FIELDS`."""
    settings = handlers.session.run.settings
    found = {
        "subject": _text("subject", settings.subject, info=f"in common words; empty: {settings.product}"),
        "environments": _text("environments", "", info=LINES, lines=8, max_lines=30),
    }
    with gradio.Row():
        for name in ("identity", "placement"):
            found[name] = _text(name, weight_text(getattr(settings, name)), info=WEIGHT, min_width=150)
    with gradio.Accordion("Sampling", open=False, elem_id="sampling"):
        found["negative_prompt"] = _text("negative_prompt", settings.negative_prompt)
        with gradio.Row():
            found |= {name: _number(name, getattr(settings, name)) for name in ("steps", "seed", "count")}
        with gradio.Row():
            found["size"] = _number("size", settings.size, info="pixels; 0: usual")
            found["cfg_scale"] = _number("cfg_scale", settings.cfg_scale, info="0: usual", precision=None)
        found["sampler"] = gradio.Dropdown(
            list(sampler_names()), value=settings.sampler, label=LABELS["sampler"], elem_id="sampler"
        )
    return {name: found[name] for name in FIELDS}


def build_depth() -> tuple[Any, Any]:
    """The upload of a depth picture, and its button."""
    with gradio.Accordion(f"{DEPTH} of the environment to try", open=False, elem_id="depths"):
        picture = gradio.Image(
            label="Nearer is brighter", type="pil", sources=["upload"], height=180, elem_id="depth"
        )
        button = gradio.Button("Use it for this environment", elem_id="use_depth")
    return picture, button


def _text(name: str, value: str, **options: Any) -> Any:
    return gradio.Textbox(value, label=LABELS[name], elem_id=name, **options)


def _number(name: str, value: float, *, info: str | None = None, precision: int | None = 0) -> Any:
    return gradio.Number(
        value, label=LABELS[name], elem_id=name, info=info, precision=precision, min_width=90
    )
