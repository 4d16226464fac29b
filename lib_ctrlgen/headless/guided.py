"""diffusers' pipeline with a guidance scale that changes over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor

from .conditions import Conditions
from .features import Features
from .load import Networks, new_pipeline


@dataclass(frozen=True)
class Scales:
    """A guidance scale per picture, which a pipeline may use as one number: scale * delta."""

    each: tuple[float, ...]

    @staticmethod
    def of(each: Sequence[float]) -> Scales | float:
        """A plain number where all pictures have the same."""
        return each[0] if len(set(each)) == 1 else Scales(tuple(each))

    def __mul__(self, delta: Tensor) -> Tensor:
        """Each picture's row times its number, [B, C, h, w]; as exact as a plain number."""
        return torch.stack([row * scale for row, scale in zip(delta, self.each, strict=True)])


class Guided:
    """With `guided` every step computes unconditional rows, also one whose scale is 1."""

    guided = True
    _guidance_scale: Scales | float

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether there are unconditional rows: a pipeline decides once, not by each step's scale."""
        return self.guided

    def guide(self, scale: Scales | float) -> None:
        """Set the scale of the steps that follow."""
        self._guidance_scale = scale


class GuidedPipeline(Guided, StableDiffusionPipeline):  # type: ignore[misc]
    """SD1.5's and SD2's."""


class GuidedXLPipeline(Guided, StableDiffusionXLPipeline):  # type: ignore[misc]
    """SDXL's. It tells the U-Net the picture's size, uncropped."""


def guided_pipeline(networks: Networks, scheduler: Any, *, guided: bool) -> Any:
    """A pipeline whose `guide(scale)` sets the scale of the steps that follow."""
    kind = GuidedXLPipeline if networks.sized else GuidedPipeline
    pipeline = new_pipeline(networks, scheduler, kind)
    pipeline.guided = guided
    return pipeline


def first_inputs(now: Conditions) -> dict[str, Any]:
    """What a pipeline is called with: the text of the first step, and what it asks for after each step."""
    cond, uncond = _one_per_picture(now), now.uncond
    given: dict[str, Any] = {"prompt_embeds": cond.states, "negative_prompt_embeds": uncond.states}
    names = ["prompt_embeds", "latents"]
    if cond.pooled is not None:
        given |= {"pooled_prompt_embeds": cond.pooled, "negative_pooled_prompt_embeds": uncond.pooled}
        names.append("add_text_embeds")
    return {**given, "callback_on_step_end_tensor_inputs": names}


def next_inputs(now: Conditions, *, guided: bool) -> dict[str, Tensor]:
    """What a pipeline holds from the next step on: unconditional rows first, if it is guided."""
    cond = _one_per_picture(now)
    held = Features.rows([now.uncond, cond]) if guided else cond
    pooled = {} if held.pooled is None else {"add_text_embeds": held.pooled}
    return {"prompt_embeds": held.states, **pooled}


def _one_per_picture(now: Conditions) -> Features:
    return now.rows.map(lambda each: each[:: len(now.owners)])
