"""The always-on script: it builds the panel, reads the request, and replaces `p.sample`.

If no unit is enabled and nothing is scheduled, a generation hooks and registers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modules import scripts

from lib_ctrlgen.errors import CtrlGenError, StoppedError
from lib_ctrlgen.forms.infotext import KEY

from .callbacks import register_callback
from .controlnet.maps import map_order
from .controlnet.old_settings import register_old_settings
from .early_imports import import_families
from .external_code.running_network import publish
from .last_picture import last_picture
from .page import is_plain_page, show_mistake, with_marks
from .panel.components import Panel
from .panel.old_infotext import add_old_units
from .panel.panel import build_panel
from .panel.tiny_model import register_tiny_setting
from .rest import guard_api
from .sampling.method_patch import Refusal, SamplePatch, release, sample_patch
from .saved_maps import save_maps
from .settings import TITLE, register_settings
from .started import add_controlnet_routes, add_routes
from .training.tab import training_tab
from .xyz_axes import add_axes


class CtrlGenScript(scripts.Script):  # type: ignore[misc]
    """The script of one tab. Everything about a generation is kept in its `p.sample`, not here."""

    panel: Panel | None = None

    def title(self) -> str:
        """The name in the page and in `alwayson_scripts`."""
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        """Always on, in both tabs."""
        del is_img2img
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the panel, once for each instance.

        The WebUI's API calls this twice more on an instance, to read the values of the same components.
        """
        tab = "img2img" if is_img2img else "txt2img"
        if self.panel is None or self.panel.tab != tab:
            self.panel = build_panel(tab)
            self.infotext_fields = self.panel.paste_fields
            self.paste_field_names = [KEY]
        return self.panel.components

    def process(self, p: Any, *args: Any) -> None:
        """Read, check and load the request. Called once per generation, after the checkpoint is loaded."""
        release(p)
        publish(p, None)
        patch = prepare(p, args)
        if patch is not None:
            patch.panel = args[1:] if args and args[0] in (None, "") else ()
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


def prepare(p: Any, args: tuple[Any, ...]) -> SamplePatch | None:
    """Return what replaces `p.sample`: a controlled sampling, a Refusal that raises, or None for nothing."""
    try:
        from .generation_request import patch_for

        return patch_for(p, args)
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be made
        release(p)
        publish(p, None)
        return Refusal(p, error)


def register() -> None:
    """Register the WebUI's callbacks. Called from `scripts/`, and again after every reload of the UI."""
    for category, functions in CALLBACKS.items():
        for function in functions:
            register_callback(category, function, __file__)


CALLBACKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "ui_settings": (register_settings, register_tiny_setting, register_old_settings),
    "before_ui": (add_axes,),
    "ui_tabs": (training_tab,),
    "infotext_pasted": (add_old_units,),
    "app_started": (
        register_old_settings,
        add_routes,
        add_controlnet_routes,
        guard_api,
        import_families,
    ),
}
