"""Trajectories: a row of pictures from concept to concept, denoised in one batch.

The latents of the pictures between two concepts are pulled towards a mix of the concepts' own latents, as in
latentblending (github.com/lunarring/latentblending). Here the concepts' pictures are rows of one batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.blend import Blend

from .formulas import slerp


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A row of `pictures` pictures over `concepts` concepts; each concept has a picture of its own.

    spherical   whether latents are mixed by slerp instead of lerp
    moved  the places of the pictures, 0..1; evenly spaced if empty

    Raises RequestError at the batch size unless it leaves the same number of pictures, at least one, between
    each two concepts.
    """

    pictures: int
    concepts: int
    spherical: bool = True
    moved: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        between, left = divmod(self.pictures - 1, self.concepts - 1)
        if left or between < 2:
            examples = ", ".join(str(k * (self.concepts - 1) + 1) for k in (2, 3, 4))
            raise RequestError(
                "$.batch_size",
                f"a trajectory over {self.concepts} concepts needs a batch of {examples}, ... pictures: one "
                f"for each concept and equally many between each two; got {self.pictures}",
            )

    @staticmethod
    def of(blend: Blend | None, pictures: int) -> Trajectory | None:
        """The trajectory of a batch with this blend; None for other modes. Raises RequestError."""
        if blend is None or blend.mode != "trajectory":
            return None
        return Trajectory(pictures=pictures, concepts=len(blend.concepts), spherical=blend.slerps)

    @property
    def places(self) -> tuple[float, ...]:
        """The place of each picture, 0..1."""
        return self.moved or tuple(picture / (self.pictures - 1) for picture in range(self.pictures))

    @property
    def interval(self) -> int:
        """The number of pictures from one concept's own to the next one's."""
        return (self.pictures - 1) // (self.concepts - 1)

    @property
    def nearest(self) -> tuple[int, ...]:
        """The number of the concept that is nearest to each picture."""
        return tuple(int(picture / self.interval + 0.5) for picture in range(self.pictures))

    def seeds(self, blend: Blend, first: int) -> tuple[int, ...]:
        """The seed of each picture: that of its nearest concept, or `first` if the concept has none."""
        own = [first if concept.seed is None else concept.seed for concept in blend.concepts]
        return tuple(own[concept] for concept in self.nearest)

    def crossfed(self, latents: Tensor, power: float) -> Tensor:
        """Pull the latents [pictures, C, h, w] between two concepts' pictures a and b towards their mix.

        x <- slerp(x, slerp(x_a, x_b, f), power) with power 0..1, or lerp if `spherical` is off; f is the
        place between both. The concepts' own latents stay unchanged.
        """
        if power == 0.0:
            return latents
        number = torch.arange(self.pictures, device=latents.device)
        before = number // self.interval * self.interval
        after = (before + self.interval).clamp(max=self.pictures - 1)
        along = torch.tensor(self.places, dtype=latents.dtype, device=latents.device) * (self.concepts - 1)
        fraction = (along - before / self.interval).clamp(0, 1)
        mix = self._between(latents[before], latents[after], fraction)
        drawn = self._between(latents, mix, torch.full_like(fraction, power))
        return torch.where((before == number)[:, None, None, None], latents, drawn)

    def respaced(self, made: Tensor) -> Trajectory:
        """Move the places so that neighbouring pictures differ equally, measured with the result of a run.

        `made` [pictures, ...] are the run's latents or pictures; the measure is the root mean square of
        differences. Between two concepts the new places divide the sum of differences into equal parts.
        """
        gaps = (made[1:] - made[:-1]).float().square().flatten(1).mean(1).sqrt().cpu().numpy()
        moved = [0.0]
        for start in range(0, self.pictures - 1, self.interval):
            way = np.concatenate([[0.0], np.cumsum(gaps[start : start + self.interval])])
            known = self.places[start : start + self.interval + 1]
            wanted = np.linspace(0.0, way[-1], self.interval + 1)[1:-1]
            moved += [float(spot) for spot in (np.interp(wanted, way, known) if way[-1] else known[1:-1])]
            moved.append((start + self.interval) / (self.pictures - 1))
        return replace(self, moved=tuple(moved))

    def _between(self, first: Tensor, last: Tensor, fraction: Tensor) -> Tensor:
        if self.spherical:
            return slerp(first, last, fraction)
        return torch.lerp(first, last, fraction[:, None, None, None])
