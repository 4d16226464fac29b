"""The always-on script: it builds the panel, reads the request, and replaces `p.sample`.

If no unit is enabled and nothing is scheduled, a generation imports, hooks and registers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modules import script_callbacks, scripts
from msgspec.structs import replace

from lib_ctrlgen.compat.places import ARGUMENTS, PlacedNotices, UnitPlaces
from lib_ctrlgen.compat.unit import ControlNetUnit
from lib_ctrlgen.errors import CtrlGenError, RequestError, StoppedError
from lib_ctrlgen.forms.infotext import KEY, describe
from lib_ctrlgen.forms.init_images import with_init
from lib_ctrlgen.forms.last_picture import with_last
from lib_ctrlgen.forms.unit_changes import changed_args, changed_request
from lib_ctrlgen.forms.unit_fields import stated_request
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.per_picture import for_picture, is_per_picture
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import ControlRequest

from .api import add_routes
from .comments import without_comments
from .controlnet.arguments import controlnet_arguments
from .controlnet.maps import map_order
from .controlnet.old_settings import register_old_settings
from .controlnet.routes import add_controlnet_routes
from .external_code.running_network import publish
from .last_picture import last_picture
from .page import is_plain_page, show_mistake, with_marks
from .panel.old_infotext import add_old_units
from .panel.panel import build_panel
from .panel.tiny_model import register_tiny_setting
from .rest import guard_api
from .sampling.cell_batch import CellBatch, cell_batch_of
from .sampling.init_images import init_pictures, picture_count
from .sampling.method_patch import Refusal, SamplePatch, release, sample_patch
from .sampling.prompt_check import needs_schedules
from .saved_maps import save_maps
from .settings import TITLE, register_settings
from .xyz_axes import add_axes, changes_of


class CtrlGenScript(scripts.Script):  # type: ignore[misc]
    """The script of one tab. Everything about a generation is kept in its `p.sample`, not here."""

    def title(self) -> str:
        """The name in the page and in `alwayson_scripts`."""
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        """Always on, in both tabs."""
        del is_img2img
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the panel. The WebUI calls this several times on one instance."""
        panel = build_panel("img2img" if is_img2img else "txt2img")
        self.infotext_fields = panel.paste_fields
        self.paste_field_names = [KEY]
        return panel.components

    def process(self, p: Any, *args: Any) -> None:
        """Read, check and load the request. Called once per generation, after the checkpoint is loaded."""
        release(p)
        publish(p, None)
        patch = prepare(p, args)
        if patch is not None:
            patch.panel = args[1:] if args and not args[0] and not cell_batch_of(args) else ()
            patch.install()

    def before_process_batch(self, p: Any, *args: Any, **given: Any) -> None:
        """End a generation of the page that failed, without a traceback. Called before each batch."""
        del args, given
        patch = sample_patch(p)
        if isinstance(patch, Refusal) and isinstance(patch.error, StoppedError):
            patch.end_batches()
        elif isinstance(patch, Refusal) and isinstance(patch.error, CtrlGenError) and is_plain_page(p):
            if not patch.shown:
                patch.marks += show_mistake(p, patch.error, patch.panel)
            patch.end_batches()

    def process_before_every_sampling(self, p: Any, *args: Any, **given: Any) -> None:
        """Let a blend change the latents and noise of a pass. Called before the sampling of each pass."""
        del args
        patch = sample_patch(p)
        if patch is not None:
            patch.begin(given["x"], given["noise"])

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """Remember the last picture, and append a blend's sheets and, if set so, the control maps.

        Nothing is appended when a script of the dropdown runs the generation: those count the pictures,
        and some join all of them into one (SD upscale, outpainting, prompt matrix).
        """
        del args
        last_picture().keep(processed)
        publish(p, None)
        patch = sample_patch(p)
        if patch is None:
            return
        save_maps(p, patch)
        if is_plain_page(p):
            with_marks(processed, patch.marks)
        if runs_script(p) or not processed.infotexts:
            return  # ADetailer calls it without pictures
        more = patch.sheets(processed.images[processed.index_of_first_image :])
        more += patch.control_maps(map_order(p, patch))
        processed.images.extend(more)
        # "Save" in the gallery needs an infotext with a seed for each picture.
        processed.infotexts.extend([processed.infotexts[0]] * len(more))


def runs_script(p: Any) -> bool:
    """Whether a script is chosen in the dropdown: the first script argument is its number, or 0 for none."""
    arguments = getattr(p, "script_args", None) or (0,)
    return bool(arguments[0])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a generation is asked for.

    further  the units in the form of sd-webui-controlnet, which are the last of the batch's one request
    places   where the units of the request came from
    notices  warnings about the client's request
    """

    batch: RequestBatch[ControlRequest]
    further: tuple[ControlNetUnit, ...] = ()
    places: UnitPlaces = field(default_factory=UnitPlaces)
    notices: Notices = field(default_factory=Notices)


def prepare(p: Any, args: tuple[Any, ...]) -> SamplePatch | None:
    """Return what replaces `p.sample`: a controlled sampling, a Refusal that raises, or None for nothing."""
    try:
        asked = asked_for(p, args)
        shared = asked.batch.shared
        prompts = needs_schedules(without_comments(p, getattr(p, "scripts", None)), shared)
        if asked.batch.cells > 1 or shared.acts or prompts:
            with asked.places.in_errors():
                return controlled(p, asked, prompts)
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be made
        release(p)
        publish(p, None)
        return Refusal(p, error)
    return None


def asked_for(p: Any, args: tuple[Any, ...]) -> Asked:
    """Read the arguments of CtrlGen's script (`args`) and of its script "ControlNet". Raises RequestError."""
    further, cells = controlnet_arguments(p), cell_batch_of(args)
    if cells is None:
        return one_request(p, args, further)
    if further:
        message = "the tuner varies the units of CtrlGen's own script alone: name them there"
        raise RequestError(ARGUMENTS, message)
    return Asked(batch=cells)


def one_request(p: Any, args: tuple[Any, ...], further: tuple[Any, ...]) -> Asked:
    """Read one request for all pictures of a generation; concepts without a seed get a random one."""
    count, changes = picture_count(p), changes_of(p, own=not further)
    request = changed_request(stated_request(changed_args(args, changes)), changes)
    places = UnitPlaces(len(request.units))
    notices: Notices = PlacedNotices(places)
    units: tuple[ControlNetUnit, ...] = ()
    if further:
        from .controlnet.units import converted_units, units_in  # imports torch and the controls

        units = units_in(further, notices)
        more = converted_units(units, p, notices) if units else ()
        request = replace(request, units=(*request.units, *more))
    with places.in_errors():
        request = with_last(with_init(request, init_pictures(p), count), last_picture().picture)
    batch = RequestBatch(requests=(seeded(request),), sizes=(count,))
    return Asked(batch=batch, further=units, places=places, notices=notices)


def controlled(p: Any, asked: Asked, prompts: bool) -> SamplePatch:
    """Load the models of a batch, and record its requests in the infotexts. Raises CtrlGenError."""
    from .sampling.generation import controlled_sample  # imports torch and the controls, so only when needed

    batch = asked.batch
    patch = controlled_sample(p, batch, prompts=prompts, notices=asked.notices)
    patch.places, patch.further = asked.places, asked.further
    cells = isinstance(batch, CellBatch)
    if isinstance(batch, CellBatch):
        p.extra_generation_params["CFG scale"] = batch.per_picture(batch.scales)
    sizes = batch.sizes if cells or is_per_picture(batch.shared) else (1,)
    pairs = zip(batch.requests, sizes, strict=True)
    own = [for_picture(request, number) for request, size in pairs for number in range(size)]
    texts = [describe(patch.recorded(request)) if request.acts else None for request in own]
    if cells or any(texts):
        p.extra_generation_params[KEY] = texts if cells or len(texts) > 1 else texts[0]
    return patch


def register() -> None:
    """Register the WebUI's callbacks. Called from `scripts/`, and again after every reload of the UI."""
    script_callbacks.on_ui_settings(register_settings)
    script_callbacks.on_ui_settings(register_tiny_setting)
    script_callbacks.on_ui_settings(register_old_settings)
    script_callbacks.on_before_ui(add_axes)
    script_callbacks.on_infotext_pasted(add_old_units)
    script_callbacks.on_app_started(register_old_settings)
    script_callbacks.on_app_started(add_routes)
    script_callbacks.on_app_started(add_controlnet_routes)
    script_callbacks.on_app_started(guard_api)
