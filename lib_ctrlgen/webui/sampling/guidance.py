"""The guidance scale and the weights of prompts joined by `AND`, at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from modules import shared

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.schedule import Schedule

from .cell_batch import own
from .step_callbacks import StepFunction, each_denoiser, is_hires

Weights = Sequence[Sequence[tuple[int, float]]]


class Guidance:
    """Replaces `combine_denoised` of each pass's denoiser: uncond + scale * sum of w (cond - uncond).

    `weights` are the (row, w) of each picture for the coming step, or None for the WebUI's own;
    `combiner`, if it is set, computes the whole combination instead.
    """

    def __init__(self, scales: Sequence[Schedule | None], hires: Sequence[Schedule | None]) -> None:
        pictures = range(max(len(scales), len(hires)))
        self.scales = tuple(own(scales, picture) for picture in pictures)
        self.hires = tuple(own(hires, picture) or own(scales, picture) for picture in pictures)
        self.weights: Weights | None = None
        self.combiner: Callable[[Any, Weights, int, float], Any] | None = None

    @property
    def acts(self) -> bool:
        """Whether any pass has a guidance schedule."""
        return any(scale is not None for scale in self.hires)

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Control the guidance of one batch. Every denoiser is restored at the end."""
        with each_denoiser("combine_denoised", self.patch) as patch:

            def follow(params: Any) -> None:
                self.require_guidance()
                patch(params)

            yield follow

    def require_guidance(self) -> None:
        """Raise HostError for InstructPix2Pix checkpoints, which combine their predictions differently."""
        acts = self.acts or self.combiner is not None
        if acts and getattr(shared.sd_model, "cond_stage_key", None) == "edit":
            raise HostError(
                "an InstructPix2Pix checkpoint takes no guidance schedule and no blend: leave both out"
            )

    def patch(self, denoiser: Any) -> None:
        """Replace the method on the denoiser's instance; the class's own method still combines."""
        original = denoiser.combine_denoised

        def combine(x_out: Any, conds_list: Weights, uncond: Any, cond_scale: float) -> Any:
            def combined(scale: float) -> Any:
                if self.combiner is not None:
                    return self.combiner(x_out, conds_list, uncond.shape[0], scale)
                return original(x_out, self.weights or conds_list, uncond, scale)

            scales = self.scales_of(denoiser, cond_scale)
            made = {scale: combined(scale) for scale in scales}
            if len(made) == 1:
                return made[scales[0]]
            return torch.stack([made[scale][picture] for picture, scale in enumerate(scales)])

        denoiser.combine_denoised = combine

    def scales_of(self, denoiser: Any, given: float) -> list[float]:
        """The scale of this step: one number for all pictures, or one for each.

        If `given` is not the WebUI's own scale, it skips the uncond rows at this step, and `given` is kept.
        """
        factor = float(denoiser.cond_scale_miltiplier)
        if given != denoiser.sampler.sampler_extra_args["cond_scale"] * factor:
            return [given]
        place = denoiser.step / denoiser.total_steps
        scales = self.hires if is_hires(denoiser) else self.scales
        return [given if scale is None else scale(place) * factor for scale in scales]
