"""Says at once what is wrong with a unit's choices, each with the button that mends it.

The server is asked when a model, preprocessor, picture or checkpoint has changed, never while something is
typed. The page sends a small copy of the picture, not the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.control_files import WEIGHT_TYPE
from lib_ctrlgen.forms.kinds import OTHER
from lib_ctrlgen.forms.param_values import PARAM_VALUES, read_param_values
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.webui.control_files import checkpoint_base, control_file, control_files, is_ready
from lib_ctrlgen.webui.late import plain

from .components import UnitPanel
from .kinds_panel import kind_choices
from .strength_panel import presets_text

if TYPE_CHECKING:
    from lib_ctrlgen.forms.advice import Advice, UnitChoices

Update = dict[str, Any]
ACTIONS = ("switch_on", "model", "preprocessor")  # each with a sentence and a button
SET = {"switch_on": "enabled", "model": "model", "preprocessor": "preprocessor"}
READ = ("picture", "enabled", "model", "preprocessor", PARAM_VALUES, "checkpoint", "kind")


def build_advice(unit: UnitPanel) -> None:
    """Build the sentences and buttons, hidden while there is nothing to say."""
    unit.parts["advice"] = gr.HTML(elem_id=unit.elem_id("advice"), visible=False)
    for action in ACTIONS:
        row = gr.Row(visible=False, elem_classes=["ctrlgen-advice"])
        with row:
            said = gr.HTML(elem_id=unit.elem_id(f"advice_{action}_text"))
            button = gr.Button(
                "Use", elem_id=unit.elem_id(f"advice_{action}"), size="sm", min_width=120, scale=0
            )
        unit.parts |= {f"{action}_row": row, f"{action}_text": said, f"{action}_button": button}
    unit.parts["advised"] = gr.State({})


def connect_advice(unit: UnitPanel) -> None:
    """Ask for advice after each change that it depends on, and let the buttons follow it."""
    parts, quiet = unit.parts, {"show_progress": False, "queue": False}
    given = [parts[name] for name in ("image", "images", "pose", "use_init_image")]
    script = "(...given) => ctrlgenKinds.copy(...given)"
    for each in given:
        each.change(fn=None, _js=script, inputs=given, outputs=[parts["picture"]])
    inputs = [parts[name] for name in READ]
    rows = [parts[f"{action}_{part}"] for action in ACTIONS for part in ("row", "text", "button")]
    outputs = [parts["kind"], parts["presets"], parts["advised"], parts["advice"], *rows]
    for name in ("picture", "enabled", "model", "preprocessor"):
        parts[name].change(judged, inputs=inputs, outputs=outputs, **quiet)
    parts["checkpoint"].change(judged_anew, inputs=inputs, outputs=outputs, **quiet)
    for action in ACTIONS:
        button, field = parts[f"{action}_button"], parts[SET[action]]
        button.click(_follower(action), inputs=[parts["advised"]], outputs=[field], **quiet)


@plain
def judged(*values: Any) -> list[Any]:
    """Updates for a unit with the values of `READ`: its kind, presets, and what is to be said about it."""
    from lib_ctrlgen.forms.advice import advice, unit_kind

    given = dict(zip(READ, values, strict=True))
    choices = unit_choices(given)
    kind = unit_kind(choices)
    by_hand = given["kind"] == OTHER and choices.file is None  # a model will be chosen
    changed = kind != (given["kind"] or "") and not by_hand
    shown = gr.update(value=kind or None) if changed else gr.update()
    presets = presets_text(kind, choices.base) if changed else gr.update()
    return [shown, presets, *said(advice(choices))]


@plain
def judged_anew(*values: Any) -> list[Any]:
    """The same, and the kinds that are possible with another checkpoint."""
    kind, *others = judged(*values)
    base = checkpoint_base(dict(zip(READ, values, strict=True))["checkpoint"])
    return [{**kind, "choices": kind_choices(control_files(), base)}, *others]


def unit_choices(given: dict[str, Any]) -> UnitChoices:
    """A unit's fields as `forms.advice` reads them."""
    from lib_ctrlgen.forms.advice import UnitChoices

    name = given["model"] or ""
    return UnitChoices(
        enabled=bool(given["enabled"]),
        picture=picture_kind(given["picture"] or ""),
        model=name,
        preprocessor=given["preprocessor"] or "none",
        file=control_file(name),
        base=checkpoint_base(given["checkpoint"] or ""),
        files=control_files(),
        is_ready=is_ready,
        weight_type=read_param_values(given[PARAM_VALUES], "").get(WEIGHT_TYPE, "linear"),
    )


def picture_kind(copy: str) -> str:
    """What a unit's picture is, see `UnitChoices`, from what the page says: a word, or a small copy of it."""
    from lib_ctrlgen.forms.advice import look_of

    if not copy.startswith("data:"):
        return copy
    try:
        return look_of(decode_image(copy, "$.picture"))
    except RequestError:
        return "photo"


def said(found: Sequence[Advice]) -> list[Any]:
    """Updates of the outputs of `connect_advice` behind the first two."""
    plain = "".join(sentence(each) for each in found if not each.action)
    updates: list[Any] = [{each.action: each.value for each in found if each.action}]
    updates.append(gr.update(value=plain, visible=bool(plain)))
    for action in ACTIONS:
        own = next((each for each in found if each.action == action), None)
        updates.append(gr.update(visible=own is not None))
        updates += [sentence(own), gr.update(value=own.label)] if own else ["", gr.update()]
    return updates


def sentence(each: Advice) -> str:
    """A sentence as HTML that screen readers announce."""
    return f'<p class="ctrlgen-advice-text" role="status">{escape(each.text)}</p>'


def _follower(action: str) -> Any:
    @plain
    def follow(advised: dict[str, Any]) -> Update:
        """The update of the field that the advice of this action changes."""
        update: Update = gr.update(value=advised[action]) if action in advised else gr.update()
        return update

    return follow
