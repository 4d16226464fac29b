"""The panel's previews: the plan over the steps, and a unit's control map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from modules import scripts
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.plan_view import plan_svg, plan_table, shown_plan
from lib_ctrlgen.preprocessors import detected, own_values, params_of, preprocessor
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.webui.comments import texts_without_comments
from lib_ctrlgen.webui.settings import model_store

from .unit_fields import Values, read_settings, unit_settings
from .uploads import uploaded

LARGEST_SIDE = 4096


def plan_html(panel: Sequence[Any], steps: int, prompts: Mapping[str, str]) -> str:
    """The plan of the panel's values and `prompts`, by their place, as HTML; or what is wrong with them."""
    try:
        read = texts_without_comments(prompts, scripts.scripts_txt2img)
        plan = shown_plan(read_settings(panel), steps, read)
    except CtrlGenError as error:
        return error_html(error)
    if not plan.weights and not plan.note:
        return '<p class="ctrlgen-note">No unit is enabled, and neither prompts nor guidance change.</p>'
    note = f"{steps} steps; progress is step / steps. Hires-fix runs the schedule once per pass."
    return (
        f'{plan_svg(plan)}<p class="ctrlgen-note">{note}</p>'
        f'<pre class="ctrlgen-table">{escape(plan_table(plan))}</pre>'
    )


def error_html(error: Exception) -> str:
    """A failure, readable."""
    return f'<p class="ctrlgen-error" role="alert">{escape(str(error))}</p>'


def control_map(values: Values, width: int, height: int, index: int) -> Image.Image:
    """A unit's picture, fitted and preprocessed as for a generation of this size. Raises RequestError."""
    path = f"$.units[{index}]"
    many = uploaded(values["images"], f"{path}.images")
    given, place = (many[0], "images[0]") if many else (values["image"], "image")
    if not given:
        raise RequestError(f"{path}.image", "choose a picture first")
    picture = decode_image(given, f"{path}.{place}") if isinstance(given, str) else given
    if not 8 <= width <= LARGEST_SIDE or not 8 <= height <= LARGEST_SIDE:
        raise RequestError("$", f"the size {width} x {height} is outside 8..{LARGEST_SIDE}")
    settings = unit_settings({**values, "model": "any"}, path)
    request: ControlRequest = parse_request({"units": [settings]})
    unit = request.units[0]
    chosen = preprocessor(unit.preprocessor, f"{path}.preprocessor").with_store(model_store())
    params = check_params(own_values(chosen, unit.params), params_of(chosen), f"{path}.params")
    return detected(chosen, picture, Frame(unit.resize_mode), (width, height), params)
