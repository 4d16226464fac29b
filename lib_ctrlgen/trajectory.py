"""A row of pictures that goes from concept to concept, denoised in one batch.

The idea of running both ends, keeping their latents, and drawing what lies between to their mix is
latentblending's (github.com/lunarring/latentblending); here the ends are rows of the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .blend import Blend
from .combine import slerp
from .errors import RequestError


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """`pictures` pictures over `stops` concepts; every concept has a picture of its own.

    Raises RequestError at the batch size where the pictures cannot be spread evenly.
    """

    pictures: int
    stops: int
    turn: bool = True

    def __post_init__(self) -> None:
        between, left = divmod(self.pictures - 1, self.stops - 1)
        if left or between < 2:
            examples = ", ".join(str(k * (self.stops - 1) + 1) for k in (2, 3, 4))
            raise RequestError(
                "$.batch_size",
                f"a trajectory over {self.stops} concepts makes one batch of {examples}, ... pictures, the "
                f"concepts' own and as many between each two; got {self.pictures}",
            )

    @staticmethod
    def of(blend: Blend | None, pictures: int) -> Trajectory | None:
        """The trajectory that a batch under this blend is, if it is one. Raises RequestError."""
        if blend is None or blend.mode != "trajectory":
            return None
        return Trajectory(pictures=pictures, stops=len(blend.concepts), turn=blend.slerps)

    @property
    def places(self) -> tuple[float, ...]:
        """Where each picture stands, 0..1."""
        return tuple(picture / (self.pictures - 1) for picture in range(self.pictures))

    @property
    def nearest(self) -> tuple[int, ...]:
        """The concept next to each picture."""
        return tuple(int(place * (self.stops - 1) + 0.5) for place in self.places)

    def crossfed(self, latents: Tensor, power: float) -> Tensor:
        """Latents [pictures, C, h, w] with those between two ends drawn to the ends' mix.

        x <- slerp(x, slerp(x_a, x_b, f), power), power 0..1 (lerp where it does not turn). The ends
        stay as they are.
        """
        if power == 0.0:
            return latents
        each = (self.pictures - 1) // (self.stops - 1)
        number = torch.arange(self.pictures, device=latents.device)
        before = number // each * each
        after = (before + each).clamp(max=self.pictures - 1)
        fraction = ((number - before) / each).to(latents.dtype)
        mix = self._between(latents[before], latents[after], fraction)
        drawn = self._between(latents, mix, torch.full_like(fraction, power))
        return torch.where((fraction == 0)[:, None, None, None], latents, drawn)

    def _between(self, first: Tensor, last: Tensor, fraction: Tensor) -> Tensor:
        if self.turn:
            return slerp(first, last, fraction)
        return torch.lerp(first, last, fraction[:, None, None, None])
