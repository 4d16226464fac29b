"""diffusers' pipeline with a guidance scale that changes over the steps."""

from __future__ import annotations

from typing import Any

from diffusers import StableDiffusionPipeline

from .load import Networks, new_pipeline


class GuidedPipeline(StableDiffusionPipeline):  # type: ignore[misc]
    """With `guided` every step computes unconditional rows, also one whose scale is 1."""

    guided = True

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether there are unconditional rows: a pipeline decides once, not by each step's scale."""
        return self.guided

    def guide(self, scale: float) -> None:
        """Set the scale of the steps that follow."""
        self._guidance_scale = scale


def guided_pipeline(networks: Networks, scheduler: Any, *, guided: bool) -> GuidedPipeline:
    """A pipeline whose `guide(scale)` sets the scale of the steps that follow."""
    pipeline: GuidedPipeline = new_pipeline(networks, scheduler, GuidedPipeline)
    pipeline.guided = guided
    return pipeline
