"""The areas in which javascript/editors/curve.js draws schedules over the steps."""

from __future__ import annotations

import gradio as gr

from .components import Panel, UnitPanel

ALL = "all"


def build_unit_curve(unit: UnitPanel) -> None:
    """Build the area with the curves of one unit: its weight, and its weight in the hires pass."""
    with gr.Accordion("Weight over the steps", open=False, elem_id=unit.elem_id("curve")):
        gr.HTML(_area(unit.panel.tab, str(unit.index)))


def build_all_curves(panel: Panel) -> None:
    """Build the area with the curves of every unit that is on, the guidance and the named prompt weights."""
    with gr.Accordion("All weights over the steps", open=False, elem_id=panel.elem_id("curves")):
        gr.HTML(_area(panel.tab, ALL))


def _area(tab: str, unit: str) -> str:
    return f'<div class="ctrlgen-curves" data-tab="{tab}" data-unit="{unit}"></div>'
