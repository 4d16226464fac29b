"""Classifier-free guidance (Ho and Salimans 2022) around a U-Net, one call for all rows of a step.

The result is u + scale * delta, u being the unconditional and c the conditional output. delta is c - u, or
for prompts with `AND` and for blends the sum that `blending.formulas` computes from several c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib_ctrlgen.blending.formulas import Combination, blended_delta
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.unet.clocks import Row, RowQueue

from .batch import EncodedBatch
from .conditions import Conditions
from .features import Features

CFG_PLUS_PLUS = 12.5  # the guidance scale that stands for 1 in CFG++ (Chung et al. 2024), as in the WebUI


class Prediction(NamedTuple):
    """The U-Net's outputs [B, 4, h, w] in float32: the guided ones, and those of the unconditional rows.

    Without guidance both are the conditional ones.
    """

    guided: Tensor
    uncond: Tensor


@dataclass
class GuidedUNet:
    """The function that samplers call: a U-Net with classifier-free guidance for a whole batch.

    It counts its calls, which are the steps, and announces the rows of each call in `queue` for the units.
    total: the number of calls from which progress is computed; a sampler may make fewer or more; size:
    height and width in pixels; scale_divisor: what guidance scales are divided by; crossfed: may change the
    sampler's latents before each step but the first; before: is called with the progress before each call of
    the U-Net; after: is called with the number of finished steps.
    """

    networks: Networks
    batch: EncodedBatch
    combination: Combination
    queue: RowQueue
    total: int
    size: tuple[int, int]
    guided: bool
    scale_divisor: float = 1.0
    crossfed: Callable[[Tensor, float], Tensor] | None = None
    before: Callable[[float], None] | None = None
    after: Callable[[int], None] | None = None
    step: int = 0

    @cached_property
    def dtype(self) -> torch.dtype:
        """The U-Net's dtype, cached: diffusers searches all modules for it, which takes milliseconds."""
        found: torch.dtype = self.networks.unet.dtype
        return found

    @property
    def progress(self) -> float:
        """The share of the steps that are finished before the next call, in [0, 1)."""
        return min(self.step, self.total - 1) / self.total

    def begin(self, x: Tensor) -> None:
        """Change the latents x [B, 4, h, w] in place before a sampler scales them and calls."""
        if self.crossfed is not None and self.step > 0:
            x.copy_(self.crossfed(x, self.progress))

    def __call__(self, x: Tensor, timestep: Tensor) -> Prediction:
        """Predict from scaled latents [B, 4, h, w] at timesteps [B]; counts one step."""
        now, scales = self.batch.conditions(self.progress), self.batch.guidance_scales(self.progress)
        if self.before is not None:
            self.before(self.progress)
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
        """The delta of each picture, [B, 4, h, w], from conditional outputs `rows` [B, P, 4, h, w]."""
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
        """Call the U-Net in its own dtype; the output is float32."""
        unet = self.networks.unet
        text = text.map(lambda each: each.to(x.device, self.dtype))
        more: dict[str, Any] = {}
        if text.pooled is not None:  # SDXL: the picture's size, uncropped
            sizes = torch.tensor([[*self.size, 0, 0, *self.size]], dtype=self.dtype, device=x.device)
            more["added_cond_kwargs"] = {"text_embeds": text.pooled, "time_ids": sizes.repeat(len(x), 1)}
        found = unet(x.to(self.dtype), timestep, encoder_hidden_states=text.states, return_dict=False, **more)
        output: Tensor = found[0].float()
        return output
