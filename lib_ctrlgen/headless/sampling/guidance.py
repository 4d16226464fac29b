"""The U-Net under classifier-free guidance: one call for all rows of a step.

Ho and Salimans 2022, with `AND` parts and concepts: u + scale * delta, where delta is c - u, or what a
blend makes of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lib_ctrlgen.blending.formulas import Combination, blended_delta
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.unet.clocks import Row, RowQueue

from .conditions import Conditions
from .features import Features

CFG_PLUS_PLUS = 12.5  # the guidance scale that stands for 1 in CFG++ (Chung et al. 2024), as in the WebUI


class Prediction(NamedTuple):
    """The U-Net's outputs [B, 4, h, w] in float32: the guided ones, and those of the unconditional rows.

    Without guidance both are the conditional ones.
    """

    guided: Tensor
    uncond: Tensor


class Told(Protocol):
    """What a batch says of each step."""

    def scales(self, progress: float) -> Sequence[float]:
        """The guidance scale of each picture."""

    def conditions(self, progress: float) -> Conditions:
        """The text of each picture."""


@dataclass
class GuidedUNet:
    """Counts the steps of a run, one per call, and says to the units which rows a call has.

    `total` is what progress is measured by; a sampler may call less or more often. `size` is height and
    width in pixels. `crossfed` may change the sampler's latents before each step but the first; `after`
    hears how many steps are done.
    """

    networks: Networks
    told: Told
    combination: Combination
    queue: RowQueue
    total: int
    size: tuple[int, int]
    guided: bool
    scale_divisor: float = 1.0
    crossfed: Callable[[Tensor, float], Tensor] | None = None
    after: Callable[[int], None] | None = None
    step: int = 0

    @property
    def progress(self) -> float:
        """How far the run is before the coming call, 0..1."""
        return min(self.step, self.total - 1) / self.total

    def begin(self, x: Tensor) -> None:
        """Say what latents a sampler is about to call with, before they are scaled; they may be changed."""
        if self.crossfed is not None and self.step > 0:
            x.copy_(self.crossfed(x, self.progress))

    def __call__(self, x: Tensor, timestep: Tensor) -> Prediction:
        """What the U-Net makes of scaled latents [B, 4, h, w] at timesteps [B]."""
        now, scales = self.told.conditions(self.progress), self.told.scales(self.progress)
        owners = now.owners
        unconds = [Row(cond=False, image=image) for image in range(len(x))] if self.guided else []
        conds = [Row(cond=True, image=image, concept=own) for image in range(len(x)) for own in owners]
        self.queue.begin(self.step, self.total, [*unconds, *conds], copies=now.copies)
        wide, times = (each.repeat_interleave(len(owners), 0) for each in (x, timestep))
        parts = [(x, timestep, now.uncond)] if self.guided else []
        outputs = self._outputs([*parts, (wide, times, now.rows)])
        self.step += 1
        if self.after is not None:
            self.after(self.step)
        rows = outputs[-1].reshape(len(x), len(owners), *x.shape[1:])
        if not self.guided:
            return Prediction(rows[:, 0], rows[:, 0])
        scale = torch.tensor(scales, device=x.device).reshape(-1, 1, 1, 1) / self.scale_divisor
        return Prediction(outputs[0] + scale * self._deltas(rows, outputs[0], now), outputs[0])

    def _deltas(self, rows: Tensor, uncond: Tensor, now: Conditions) -> Tensor:
        """What guidance adds to the unconditional outputs [B, 4, h, w]; `rows` are [B, P, 4, h, w]."""
        if now.plain:
            return rows[:, 0] - uncond
        pairs = zip(rows, uncond, now.shares, strict=True)
        return torch.stack(
            [blended_delta(parts, plain, own, self.combination) for parts, plain, own in pairs]
        )

    def _outputs(self, parts: Sequence[tuple[Tensor, Tensor, Features]]) -> Sequence[Tensor]:
        """The U-Net's output for each part, from one call."""
        latents, times, texts = zip(*parts, strict=True)
        joined = self._call(torch.cat(latents), torch.cat(times), Features.rows(texts))
        return torch.split(joined, [len(each) for each in latents])

    def _call(self, x: Tensor, timestep: Tensor, text: Features) -> Tensor:
        """One call, in the U-Net's own precision, with float32 before and behind it."""
        unet = self.networks.unet
        dtype = unet.dtype  # diffusers walks through every module to find it
        text = text.map(lambda each: each.to(x.device, dtype))
        more: dict[str, Any] = {}
        if text.pooled is not None:  # SDXL: the picture's size, uncropped
            sizes = torch.tensor([[*self.size, 0, 0, *self.size]], dtype=dtype, device=x.device)
            more["added_cond_kwargs"] = {"text_embeds": text.pooled, "time_ids": sizes.repeat(len(x), 1)}
        found = unet(x.to(dtype), timestep, encoder_hidden_states=text.states, return_dict=False, **more)
        output: Tensor = found[0].float()
        return output
