"""`<lora:name:1>0>` in the WebUI: LoRAs whose weight changes over the steps.

The WebUI's extension Lora loads the file, changes the text encoders and writes the hash into the infotext: it
gets an ordinary tag with the weight 0 for the U-Net. The U-Net's part is added here through hooks, with the
weight of each step. Tags without a schedule are left to the extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from modules import devices, shared
from torch import nn

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.loras.file import load_lora
from lib_ctrlgen.models.loras.fit import FittedLora, fitted
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.prompts.networks import LoraTag, replace_scheduled, require_known
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.session.loras import LoraHooks
from lib_ctrlgen.webui.settings import model_store

from .host_loras import lora_path, own_weight, text_weights
from .loaded_unet import current_port
from .method_patch import MethodPatch
from .step_callbacks import StepFunction, is_hires

DIFFUSERS = (
    "is in diffusers' layout, whose text encoder part the WebUI's extension Lora does not read: give it the "
    "text encoder weight 0, as in <lora:name:0:1>0>, or convert the file to kohya's layout"
)


class ScheduledLoras:
    """The LoRAs with schedules in the prompts of a generation. `named` are the request's `prompt_weights`."""

    def __init__(self, p: Any, tags: Sequence[LoraTag], named: Mapping[str, Schedule]) -> None:
        self.p, self.named = p, named
        self.notices = Notices()
        self.first: tuple[LoraTag, ...] = ()
        self.hires: tuple[LoraTag, ...] = ()
        unet = current_port().module
        with at_path("$.prompt"):
            for tag in dict.fromkeys(tags):
                self.check(tag, unet)
        TagPatch(p, self).install()

    def check(self, tag: LoraTag, unet: nn.Module) -> None:
        """Check a tag against its file and the U-Net; a notice names missing layers.

        Raises RequestError and ModelError.
        """
        require_known(tag)
        file = model_store().get(lora_path(tag.name), load_lora)
        if file.layout == "diffusers" and tag.te.bounds != (0.0, 0.0) and (file.of("te") or file.of("te2")):
            raise RequestError("", f"'{tag.name}' {DIFFUSERS}")
        if unmatched := fitted_to(tag, unet).unmatched:
            self.notices.add(
                "$.prompt",
                f"<lora:{tag.name}>: the U-Net lacks {len(unmatched)} of its layers, first {unmatched[0]}",
            )

    def tags(self, *, hires: bool) -> tuple[LoraTag, ...]:
        """The LoRAs of a pass of the present batch."""
        return self.hires if hires else self.first

    def text_weights(self, progress: float, *, hires: bool) -> dict[str, float]:
        """The weights of the text encoders at `progress` (0..1) by the names in the prompt."""
        return {tag.name: tag.te(progress) for tag in self.tags(hires=hires)}

    @contextmanager
    def encoding(self, weights: Mapping[str, float]) -> Iterator[None]:
        """Encode prompts inside with these weights of the text encoders."""
        with text_weights(weights):
            yield

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Act on the U-Net during one batch; the hooks are removed at its end."""
        with ExitStack() as stack:
            hooked: dict[tuple[int, bool], LoraHooks] = {}

            def follow(params: Any) -> None:
                self.follow(params, hooked, stack)

            yield follow

    def follow(self, params: Any, hooked: dict[tuple[int, bool], LoraHooks], stack: ExitStack) -> None:
        """Before a step, hook the U-Net that is loaded now, and set the weights of the step."""
        denoiser, unet = params.denoiser, current_port().module
        hires = is_hires(denoiser)
        tags = () if self.p.disable_extra_networks else self.tags(hires=hires)
        key = (id(unet), hires)
        if key not in hooked:
            hooked[key] = stack.enter_context(LoraHooks(unet, [fitted_to(tag, unet).unet for tag in tags]))
        for hooks in hooked.values():
            hooks.set(())
        progress = denoiser.step / denoiser.total_steps
        hooked[key].set([tag.unet(progress) for tag in tags])


class TagPatch(MethodPatch):
    """Replaces `p.parse_extra_network_prompts`: gives the WebUI ordinary tags for those with schedules."""

    def __init__(self, p: Any, loras: ScheduledLoras) -> None:
        super().__init__(p, "parse_extra_network_prompts")
        self.loras = loras

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Let the WebUI read the batch's prompts with ordinary tags; the infotext keeps the user's."""
        p, loras = self.p, self.loras
        p.prompts, loras.first = ordinary(p.prompts, loras.named)
        all_hires = getattr(p, "all_hr_prompts", None)
        if not all_hires:
            return self.original(*args, **kwargs)
        start, size = p.iteration * p.batch_size, p.batch_size
        _, loras.hires = ordinary(all_hires[start : start + size], loras.named)
        try:
            p.all_hr_prompts = ordinary(all_hires, loras.named)[0]
            return self.original(*args, **kwargs)
        finally:
            p.all_hr_prompts = all_hires


def ordinary(prompts: Sequence[str], named: Mapping[str, Schedule]) -> tuple[list[str], tuple[LoraTag, ...]]:
    """Prompts with ordinary tags in the place of those with schedules, and these tags of the first prompt.

    As with ordinary tags, those of a batch's first prompt count. The U-Net's weight is 0 in them.
    """
    found = [replace_scheduled(text, named, LoraTag.without_unet) for text in prompts]
    return [text for text, _ in found], found[0][1] if found else ()


def fitted_to(tag: LoraTag, unet: nn.Module) -> FittedLora:
    """A LoRA's changes of the U-Net, from the cache of loaded models. Raises ModelError."""
    store, path = model_store(), lora_path(tag.name)
    checkpoint = shared.sd_model.sd_checkpoint_info.filename
    key = ("lora", stamp(path), tag.dyn, checkpoint, str(devices.device), devices.dtype_unet)

    def fit() -> FittedLora:
        file = store.get(path, load_lora)
        return fitted(
            file,
            tag.name,
            unet,
            (),
            tag.dyn,
            weight_of=own_weight,
            place=(devices.device, devices.dtype_unet),
        )

    return store.cached(key, fit)
