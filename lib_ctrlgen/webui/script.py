"""The always-on script: it builds the panel, reads the request, and replaces `p.sample`.

If no unit is enabled and nothing is scheduled, a generation imports, hooks and registers nothing.
"""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.infotext import KEY, describe
from lib_ctrlgen.forms.unit_fields import read_request
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.per_picture import for_picture, is_per_picture
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import ControlRequest

from .api import add_routes
from .comments import without_comments
from .last_picture import last_picture
from .page import is_plain_page, show_mistake
from .panel.panel import build_panel
from .panel.tiny_model import register_tiny_setting
from .rest import guard_api
from .sampling.cell_batch import CellBatch, cell_batch_of
from .sampling.init_images import init_pictures, picture_count
from .sampling.method_patch import Refusal, SamplePatch, release, sample_patch
from .sampling.prompt_check import needs_schedules
from .settings import TITLE, appends_maps, register_settings


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
        patch = prepare(p, args)
        if patch is not None:
            patch.install()

    def before_process_batch(self, p: Any, *args: Any, **given: Any) -> None:
        """End a generation of the page that failed, without a traceback. Called before each batch."""
        del args, given
        patch = sample_patch(p)
        if isinstance(patch, Refusal) and isinstance(patch.error, CtrlGenError) and is_plain_page(p):
            if not patch.shown:
                show_mistake(p, patch.error)
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
        patch = sample_patch(p)
        if patch is None or runs_script(p):
            return
        more = patch.sheets(processed.images[processed.index_of_first_image :])
        more += patch.control_maps() if appends_maps() else []
        processed.images.extend(more)
        # "Save" in the gallery needs an infotext with a seed for each picture.
        processed.infotexts.extend([processed.infotexts[0]] * len(more))


def runs_script(p: Any) -> bool:
    """Whether a script is chosen in the dropdown: the first script argument is its number, or 0 for none."""
    arguments = getattr(p, "script_args", None) or (0,)
    return bool(arguments[0])


def prepare(p: Any, args: tuple[Any, ...]) -> SamplePatch | None:
    """Return what replaces `p.sample`: a controlled sampling, a Refusal that raises, or None for nothing."""
    try:
        batch = cell_batch_of(args) or one_request(p, args)
        prompts = needs_schedules(without_comments(p, getattr(p, "scripts", None)), batch.shared)
        if batch.cells > 1 or batch.shared.acts or prompts:
            return controlled(p, batch, prompts)
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be made
        release(p)
        return Refusal(p, error)
    return None


def one_request(p: Any, args: tuple[Any, ...]) -> RequestBatch[ControlRequest]:
    """Return one request for all pictures of a generation; concepts without a seed get a random one."""
    count = picture_count(p)
    request = read_request(args, init_pictures(p), count, last_picture().picture)
    return RequestBatch(requests=(seeded(request),), sizes=(count,))


def controlled(p: Any, batch: RequestBatch[ControlRequest], prompts: bool) -> SamplePatch:
    """Load the models of a batch, and record its requests in the infotexts. Raises CtrlGenError."""
    from .sampling.generation import controlled_sample  # imports torch and the controls, so only when needed

    patch = controlled_sample(p, batch, prompts=prompts)
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
    script_callbacks.on_app_started(add_routes)
    script_callbacks.on_app_started(guard_api)
