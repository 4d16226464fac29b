"""Restart (Xu et al. 2023, arXiv 2306.14878): Heun steps that go back to a higher sigma near the end.

It has the WebUI's settings: from 20 steps on, once from sigma 0.1 back to 2 over nine steps; from 36 steps on
twice, each over a quarter of the steps. These steps are subtracted from the descent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import Tensor

from lib_ctrlgen.headless.sampling.denoisers import SigmaDenoiser
from lib_ctrlgen.headless.sampling.schedulers import karras_between, with_zero

LOW, HIGH = 0.1, 2.0  # a restart goes back from the first sigma to the second
ONCE, TWICE = 20, 36  # steps
STEPS = 9


def restart(model: SigmaDenoiser, x: Tensor, sigmas: Tensor, noise: Callable[..., Tensor]) -> Tensor:
    """Sample with Restart from noise of standard deviation sigmas[0]; returns latents [B, 4, h, w]."""
    before = None
    for start, end in steps_of(sigmas):
        if before is not None and before < start:
            x = x + noise(before, start) * (start**2 - before**2) ** 0.5
        x = heun_step(model, x, start, end)
        before = end
    return x


def heun_step(model: SigmaDenoiser, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """A Heun step: algorithm 1 of Karras et al. 2022 without churn."""
    slope = (x - model(x, start.to(x.device).expand(len(x)))) / start
    ahead = x + slope * (end - start)
    if end == 0:
        return ahead
    other = (ahead - model(ahead, end.to(x.device).expand(len(x)))) / end
    return x + (slope + other) / 2 * (end - start)


def steps_of(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Start and end sigma of every step; a step that starts above the end of the one before is a restart."""
    count = len(sigmas) - 1
    if count < ONCE:
        return list(itertools.pairwise(sigmas))
    length, times = (count // 4, 2) if count >= TWICE else (STEPS, 1)
    down = with_zero(karras_between(count - length * times, float(sigmas[0]), float(sigmas[-2])))
    steps = list(itertools.pairwise(down))
    low, high = (int((down - sigma).abs().argmin()) for sigma in (LOW, HIGH))
    if not low > 0 or high >= low:
        return steps
    again = karras_between(length + 1, float(down[high]), float(down[low]))
    back = list(itertools.pairwise(again))
    return [*steps[:low], *back * times, *steps[low:]]
