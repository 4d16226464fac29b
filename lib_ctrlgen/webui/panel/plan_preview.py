"""The panel's preview of the plan, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from modules import scripts

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.forms.unit_fields import read_settings
from lib_ctrlgen.plots.plan_view import plan_svg, plan_table, shown_plan
from lib_ctrlgen.webui.comments import texts_without_comments

from .preview import error_html

PROMPTS = ("$.prompt", "$.negative_prompt")  # their paths in the plan


def shown(steps: float, prompt: str, negative: str, *panel: Any) -> str:
    """The plan of the page's values."""
    return plan_html(panel, max(1, int(steps)), dict(zip(PROMPTS, (prompt, negative), strict=True)))


def plan_html(panel: Sequence[Any], steps: int, prompts: Mapping[str, str]) -> str:
    """The plan of the panel's values and of `prompts` (by JSON path) as HTML, or the error in them."""
    try:
        read = texts_without_comments(prompts, scripts.scripts_txt2img)
        plan = shown_plan(read_settings(panel), steps, read)
    except CtrlGenError as error:
        return error_html(error, PanelValues.of(panel))
    if not plan.weights and not plan.note:
        return (
            '<p class="ctrlgen-note">No unit is enabled, and neither prompts nor guidance have schedules.</p>'
        )
    note = f"{steps} steps; progress is step / steps. Hires-fix runs the schedule once per pass."
    return (
        f'{plan_svg(plan)}<p class="ctrlgen-note">{note}</p>'
        f'<pre class="ctrlgen-table">{escape(plan_table(plan))}</pre>'
    )
