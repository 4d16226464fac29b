"""UniPC (Zhao et al. 2023, arXiv 2302.04867), order three, predicting the clean latents.

It has the WebUI's settings: B(h) = h, evenly spaced timesteps, lower orders at the end, no corrector in the
last step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.headless.sampling.denoisers import TimestepDenoiser

from .ddim import even_timesteps

ORDER = 3


@dataclass(frozen=True, kw_only=True)
class Level:
    """A noise level: timestep, sqrt(abar), sqrt(1 - abar), and the logarithm of their quotient."""

    timestep: float
    signal: float
    noise: float

    @property
    def snr(self) -> float:
        """Half the logarithm of the signal-to-noise ratio, lambda in the paper."""
        return math.log(self.signal) - math.log(self.noise)


def levels_of(alphas_cumprod: Tensor, count: int) -> list[Level]:
    """`count` levels at even timesteps from the last to the first; log abar is interpolated linearly."""
    logs = alphas_cumprod.double().cpu().log()
    times = torch.linspace(len(logs) - 1, 0, count, dtype=torch.float64)
    low = times.floor().long().clamp(max=len(logs) - 2)
    alphas = torch.lerp(logs[low], logs[low + 1], times - low).exp()
    pairs = zip(times.tolist(), alphas.tolist(), strict=True)
    return [Level(timestep=t, signal=a**0.5, noise=(1 - a) ** 0.5) for t, a in pairs]


def unipc(model: TimestepDenoiser, x: Tensor, steps: int) -> Tensor:
    """Sample with UniPC from noise of standard deviation 1; returns latents [B, 4, h, w]."""
    count = len(even_timesteps(steps, len(model.alphas_cumprod)))
    levels = levels_of(model.alphas_cumprod, count + 1)
    seen: list[tuple[Level, Tensor]] = []  # the newest first
    step: Step | None = None
    for number, level in enumerate(levels):
        if step is not None:
            ahead = step.predicted()
            if number == count:
                return ahead
        else:
            ahead = x
        clean = _clean(model, ahead, level)
        x = ahead if step is None else step.corrected(clean)
        seen = [(level, clean), *seen[: ORDER - 1]]
        order = min(len(seen), count - number)
        step = Step(x, seen[:order], levels[min(number + 1, count)])
    return x


def _clean(model: TimestepDenoiser, x: Tensor, level: Level) -> Tensor:
    noise = model(x, x.new_full((len(x),), level.timestep))
    return (x - level.noise * noise) / level.signal


class Step:
    """A step to `end` from x at the newest of several levels, with their clean latents (newest first)."""

    def __init__(self, x: Tensor, seen: Sequence[tuple[Level, Tensor]], end: Level) -> None:
        (start, self.first), *others = seen
        span = end.snr - start.snr
        self.ratios = [(level.snr - start.snr) / span for level, _ in others]
        pairs = zip(others, self.ratios, strict=True)
        self.slopes = [(clean - self.first) / ratio for (_, clean), ratio in pairs]
        self.span, self.scale = -span, end.signal * span  # -h, as clean latents are predicted
        self.straight = end.noise / start.noise * x - end.signal * math.expm1(-span) * self.first

    def predicted(self) -> Tensor:
        """The predictor: x at `end`, computed from the previous levels."""
        weights = [0.5] if len(self.slopes) == 1 else self._weights(self.ratios)
        return self._bent(self.slopes, weights)

    def corrected(self, clean: Tensor) -> Tensor:
        """The corrector: x at `end`, computed also from the clean latents found there."""
        ratios = [*self.ratios, 1.0]
        weights = [0.5] if len(ratios) == 1 else self._weights(ratios)
        return self._bent([*self.slopes, clean - self.first], weights)

    def _bent(self, slopes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        bent = (weight * slope for weight, slope in zip(weights, slopes, strict=True))
        return self.straight + self.scale * sum(bent, torch.zeros_like(self.first))

    def _weights(self, ratios: Sequence[float]) -> list[float]:
        """The coefficients that make the method exact to its order: the paper's equation 8, B(h) = h."""
        if not ratios:
            return []
        grid = torch.tensor(ratios, dtype=torch.float64)
        powers = torch.stack([grid**k for k in range(len(ratios))])
        wanted, phi = [], math.expm1(self.span) / self.span - 1
        for k in range(1, len(ratios) + 1):
            wanted.append(phi * math.factorial(k) / self.span)
            phi = phi / self.span - 1 / math.factorial(k + 1)
        found = torch.linalg.solve(powers, torch.tensor(wanted, dtype=torch.float64))
        return [float(each) for each in found]
