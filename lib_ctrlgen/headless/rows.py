"""More conditional rows than diffusers' pipeline knows of: one per AND part instead of one per picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.combine import Combination, blended_delta
from lib_ctrlgen.unet import Hooks

from .conditions import Conditions
from .features import Features


@dataclass
class PartRows:
    """Widens every call of a guided U-Net to all parts, and folds the answer back.

    The pipeline calls with [uncond, cond] rows of B pictures; the U-Net sees [uncond, B * P parts].
    What comes back in the place of a conditional row is u + the blended delta: guidance of any scale
    then gives u + scale * delta. `now` are the conditions of the coming call.
    """

    images: int
    combination: Combination
    now: Conditions

    def installed(self, unet: nn.Module) -> Hooks:
        """Hook a U-Net. Enter this before any session, whose hooks then see the wide call."""
        hooks = Hooks()
        hooks.add(unet.register_forward_pre_hook(self._widen, with_kwargs=True))
        hooks.add(unet.register_forward_hook(self._fold))
        return hooks

    def _widen(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sample, timestep = args
        uncond, cond = sample[: self.images], sample[self.images :]
        wide = torch.cat([uncond, cond.repeat_interleave(len(self.now.owners), 0)])
        text = Features.rows([self.now.uncond, self.now.rows]).map(lambda each: each.to(sample))
        told = {**kwargs, "encoder_hidden_states": text.states}
        if text.pooled is not None:
            times = kwargs["added_cond_kwargs"]["time_ids"][:1].expand(len(text), -1)
            told["added_cond_kwargs"] = {"text_embeds": text.pooled, "time_ids": times}
        return (wide, timestep), told

    def _fold(self, _module: nn.Module, _args: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sample, *rest = output
        uncond, rows = sample[: self.images], sample[self.images :]
        per_picture = rows.reshape(self.images, len(self.now.owners), *rows.shape[1:])
        combined = [
            plain + blended_delta(parts, plain, shares, self.combination)
            for parts, plain, shares in zip(per_picture, uncond, self.now.shares, strict=True)
        ]
        return (torch.cat([uncond, torch.stack(combined)]), *rest)
