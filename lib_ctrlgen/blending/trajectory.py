"""A row of pictures that goes from concept to concept, denoised in one batch.

The idea of running both ends, keeping their latents, and drawing what lies between to their mix is
latentblending's (github.com/lunarring/latentblending); here the ends are rows of the same batch.
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
    """`pictures` pictures over `stops` concepts; every concept has a picture of its own.

    `spots` are their places, 0..1, evenly spaced where none are given.

    Raises RequestError at the batch size where the pictures cannot be spread evenly.
    """

    pictures: int
    stops: int
    turn: bool = True
    spots: tuple[float, ...] = ()

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
        return self.spots or tuple(picture / (self.pictures - 1) for picture in range(self.pictures))

    @property
    def each(self) -> int:
        """How many pictures lie from one concept's own to the next one's."""
        return (self.pictures - 1) // (self.stops - 1)

    @property
    def nearest(self) -> tuple[int, ...]:
        """The concept next to each picture, by its number in the row."""
        return tuple(int(picture / self.each + 0.5) for picture in range(self.pictures))

    def crossfed(self, latents: Tensor, power: float) -> Tensor:
        """Latents [pictures, C, h, w] with those between two ends drawn to the ends' mix.

        x <- slerp(x, slerp(x_a, x_b, f), power), power 0..1 (lerp where it does not turn). The ends
        stay as they are.
        """
        if power == 0.0:
            return latents
        number = torch.arange(self.pictures, device=latents.device)
        before = number // self.each * self.each
        after = (before + self.each).clamp(max=self.pictures - 1)
        along = torch.tensor(self.places, dtype=latents.dtype, device=latents.device) * (self.stops - 1)
        fraction = (along - before / self.each).clamp(0, 1)
        mix = self._between(latents[before], latents[after], fraction)
        drawn = self._between(latents, mix, torch.full_like(fraction, power))
        return torch.where((before == number)[:, None, None, None], latents, drawn)

    def respaced(self, made: Tensor) -> Trajectory:
        """The same row with its pictures placed so that neighbours differ alike, judged by a run's result.

        `made` [pictures, ...] are latents or pictures; a difference is the root mean square. Between
        two ends the places move to equal parts of the way that the row took from one to the other.
        """
        gaps = (made[1:] - made[:-1]).float().square().flatten(1).mean(1).sqrt().cpu().numpy()
        spots = [0.0]
        for start in range(0, self.pictures - 1, self.each):
            way = np.concatenate([[0.0], np.cumsum(gaps[start : start + self.each])])
            known = self.places[start : start + self.each + 1]
            wanted = np.linspace(0.0, way[-1], self.each + 1)[1:-1]
            spots += [float(spot) for spot in (np.interp(wanted, way, known) if way[-1] else known[1:-1])]
            spots.append((start + self.each) / (self.pictures - 1))
        return replace(self, spots=tuple(spots))

    def _between(self, first: Tensor, last: Tensor, fraction: Tensor) -> Tensor:
        if self.turn:
            return slerp(first, last, fraction)
        return torch.lerp(first, last, fraction[:, None, None, None])
