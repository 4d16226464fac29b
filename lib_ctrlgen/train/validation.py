"""Measures a training on views that it does not learn from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from .dataset.batches import Batches
from .loop import Loop, generator_of

LEVELS = 8  # noise levels at which a held-out view's loss is computed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a validation found; None where something is not measured.

    loss       the denoising loss on held-out views with the same noise every time: less is better
    likeness   of the previews to the held-out views, cosine of CLIP embeddings: more is better
    accuracy   of the previews to their prompts, the same
    previews   the files of the previews, relative to the run's folder
    """

    step: int
    loss: float | None = None
    likeness: float | None = None
    accuracy: float | None = None
    previews: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """What is to rise: the likeness, or where it is not measured the negative loss."""
        if self.likeness is not None:
            return self.likeness
        return None if self.loss is None else -self.loss

    def asdict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**dataclasses.asdict(self), "previews": list(self.previews)}

    @staticmethod
    def of(content: dict[str, Any]) -> Measured:
        """From `asdict`."""
        return Measured(**{**content, "previews": tuple(content["previews"])})


def held_out_loss(loop: Loop, views: Batches) -> float:
    """The mean loss over all held-out views at fixed noise levels. The method is engaged."""
    losses = [
        view_loss(loop, views, index, level) for index in range(len(views.views)) for level in range(LEVELS)
    ]
    return sum(losses) / len(losses)


@torch.no_grad()
def view_loss(loop: Loop, views: Batches, index: int, level: int) -> float:
    """The loss of one view at one of the noise levels, 0 up to LEVELS - 1. The method is engaged."""
    batch = views.whole(index).to(loop.base.device)
    noise = torch.randn(batch.latents.shape, generator=generator_of(1, index, level)).to(batch.latents)
    timestep = int((level + 0.5) / LEVELS * len(loop.objective.alphas))
    drawn = loop.objective.at(batch.latents, noise, torch.full((1,), timestep, device=noise.device))
    with loop.autocast():
        return float(loop.objective.loss(loop.method, batch, drawn))
