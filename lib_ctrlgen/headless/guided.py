"""diffusers' pipeline with a guidance scale that changes over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

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


class GuidedPipeline(StableDiffusionPipeline):  # type: ignore[misc]
    """With `guided` every step computes unconditional rows, also one whose scale is 1."""

    guided = True

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether there are unconditional rows: a pipeline decides once, not by each step's scale."""
        return self.guided

    def guide(self, scale: Scales | float) -> None:
        """Set the scale of the steps that follow."""
        self._guidance_scale = scale


def guided_pipeline(networks: Networks, scheduler: Any, *, guided: bool) -> GuidedPipeline:
    """A pipeline whose `guide(scale)` sets the scale of the steps that follow."""
    pipeline: GuidedPipeline = new_pipeline(networks, scheduler, GuidedPipeline)
    pipeline.guided = guided
    return pipeline
