"""The preview of a control map that follows the unit's fields, for javascript/editors/unit_live.js."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from modules import devices
from modules.call_queue import queue_lock

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.forms.preprocessor_fields import stage_names
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.models.offers import missing_files
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.settings import model_store, offloads

from .components import Panel, PictureInput, UnitPanel
from .preview import error_html

BUSY = "busy"  # what the page is answered while the WebUI generates: it asks again later
QUIET = "quiet"  # ... while files are missing: the preview stays as it is


def connect_live_preview(panel: Panel, units: Sequence[UnitPanel]) -> None:
    """Build the fields of the preview: one event for all units, whose values the page sends."""
    hidden: dict[str, Any] = {"visible": False}
    numbers = [
        gr.Number(value=0, elem_id=panel.elem_id(f"live_{name}"), **hidden)
        for name in ("index", "width", "height")
    ]
    made = PictureInput(interactive=False, elem_id=panel.elem_id("live_map"), **hidden)
    said = gr.Textbox(elem_id=panel.elem_id("live_said"), **hidden)
    button, place = (
        gr.Button(name, elem_id=panel.elem_id(name), elem_classes=["ctrlgen-hidden"])
        for name in ("live", "live_place")
    )
    tab = panel.tab
    button.click(
        live_map,
        _js=f"() => ctrlgenLive.asked('{tab}')",
        inputs=[*numbers, *(units[0].parts[name] for name in unit_fields())],
        outputs=[made, said],
        show_progress=False,
    ).then(None, _js=f"(map, said) => ctrlgenLive.made('{tab}', map, said)", inputs=[made, said])
    outputs = [unit.parts[name] for unit in units for name in ("map", "map_error")]
    place.click(None, _js=f"() => ctrlgenLive.placed('{tab}')", outputs=outputs)


@plain
def live_map(index: float, width: float, height: float, *values: Any) -> tuple[Any, str]:
    """A unit's control map and nothing; or none and the reason: BUSY, QUIET, or an error as HTML.

    It never waits for a generation, and never loads what has to be downloaded or installed first.
    """
    from lib_ctrlgen.forms.map_preview import control_map

    fields = dict(zip(unit_fields(), values, strict=True))
    try:
        if missing_files(stage_names(fields["preprocessor"]), "", model_store(), ""):
            return None, QUIET
    except OSError:
        return None, QUIET
    if not queue_lock.acquire(blocking=False):
        return None, BUSY
    try:
        size, place = (int(width), int(height)), str(devices.device)
        return control_map(fields, *size, int(index), model_store(), place, away=offloads()), ""
    except RequestError as error:
        return None, error_html(error, PanelValues({int(index): fields}))
    except CtrlGenError:
        return None, QUIET  # the unit's download box, the button and Generate say what is missing
    finally:
        queue_lock.release()
