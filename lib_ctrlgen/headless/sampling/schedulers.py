"""The WebUI's schedulers: each computes the sigmas that a sampler steps through.

Each is a function of the number of steps and the model's noise levels, and returns falling sigmas; all but
"KL Optimal" end with zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from lib_ctrlgen.request.sampler_names import SAMPLERS, Choice

from .noise_levels import NoiseLevels

Scheduler: TypeAlias = Callable[[int, NoiseLevels], Tensor]

RHO = 7.0  # of Karras et al. 2022
BETA = 0.6  # both parameters of the WebUI's beta distribution
# Sabour, Fidler and Kreis 2024, Align Your Steps: the published levels of SD1.5 and of SDXL for 10 steps
AYS_SD15 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)


def sigmas_of(choice: Choice, steps: int, levels: NoiseLevels, *, sdxl: bool = False) -> Tensor:
    """The sigmas that a sampler steps over with a scheduler, [steps + 1] or a few more, on the CPU."""
    discards = SAMPLERS[choice.sampler].discards
    count = steps + 1 if discards else steps
    if choice.scheduler == "Align Your Steps":
        found = align_your_steps(count, AYS_SDXL if sdxl else AYS_SD15)
    else:
        found = SCHEDULES[choice.scheduler](count, levels)
    return torch.cat([found[:-2], found[-1:]]) if discards else found


def with_zero(sigmas: Tensor) -> Tensor:
    """The sigmas with a zero appended."""
    return torch.cat([sigmas.float(), torch.zeros(1)])


def uniform(count: int, levels: NoiseLevels) -> Tensor:
    """Evenly spaced timesteps, including the first and the last."""
    return with_zero(levels.uniform(count))


def karras(count: int, levels: NoiseLevels) -> Tensor:
    """Equation 5 of Karras et al. 2022, over all levels."""
    return with_zero(karras_between(count, levels.highest, levels.lowest))


def karras_between(count: int, highest: float, lowest: float) -> Tensor:
    """`count` sigmas from `highest` down to `lowest`, even in sigma^(1/7)."""
    first, last = highest ** (1 / RHO), lowest ** (1 / RHO)
    found: Tensor = (first + torch.linspace(0, 1, count) * (last - first)) ** RHO
    return found


def exponential(count: int, levels: NoiseLevels) -> Tensor:
    """Evenly spaced in log sigma."""
    return with_zero(torch.linspace(math.log(levels.highest), math.log(levels.lowest), count).exp())


def sgm_uniform(count: int, levels: NoiseLevels) -> Tensor:
    """Evenly spaced timesteps without the first one, as in Stability AI's generative-models."""
    return with_zero(levels.sigma(_timesteps(count + 1, levels)[:-1]))


def normal(count: int, levels: NoiseLevels) -> Tensor:
    """Evenly spaced (fractional) timesteps between those of the highest and the lowest sigma."""
    return with_zero(levels.sigma(_timesteps(count, levels)))


def _timesteps(count: int, levels: NoiseLevels) -> Tensor:
    start, end = levels.timestep(torch.tensor([levels.highest, levels.lowest])).tolist()
    return torch.linspace(start, end, count)


def simple(count: int, levels: NoiseLevels) -> Tensor:
    """Every (T / count)-th level, counted from the last."""
    stride = len(levels.sigmas) / count
    return with_zero(levels.sigmas[[-(1 + int(number * stride)) for number in range(count)]])


def ddim(count: int, levels: NoiseLevels) -> Tensor:
    """Every k-th level from level 1 on, k = T / count rounded down; it can be a few more than `count`."""
    stride = max(len(levels.sigmas) // count, 1)
    return with_zero(levels.sigmas[1::stride].flip(0))


def kl_optimal(count: int, levels: NoiseLevels) -> Tensor:
    """Evenly spaced in arctan sigma (Sabour, Fidler and Kreis 2024, theorem 3.1), without a zero."""
    share = torch.arange(count + 1) / count
    return torch.tan(share * math.atan(levels.lowest) + (1 - share) * math.atan(levels.highest))


def beta(count: int, levels: NoiseLevels) -> Tensor:
    """Quantiles of a beta distribution between both ends (Lee et al. 2024, arXiv 2407.12173)."""
    from scipy import stats

    shares = torch.as_tensor(stats.beta.ppf(1 - torch.linspace(0, 1, count).double().numpy(), BETA, BETA))
    return with_zero(levels.lowest + shares * (levels.highest - levels.lowest))


def align_your_steps(count: int, published: tuple[float, ...]) -> Tensor:
    """The published levels; for other numbers of steps, interpolated linearly in log sigma."""
    logs = torch.tensor(published, dtype=torch.float64).log().flip(0)
    places = torch.linspace(0, 1, count, dtype=torch.float64) * (len(published) - 1)
    low = places.floor().long().clamp(max=len(published) - 2)
    return with_zero(torch.lerp(logs[low], logs[low + 1], places - low).exp().flip(0))


SCHEDULES: Mapping[str, Scheduler] = MappingProxyType(
    {
        "Uniform": uniform,
        "Karras": karras,
        "Exponential": exponential,
        "Polyexponential": exponential,  # equal, because the WebUI's rho is 1
        "SGM Uniform": sgm_uniform,
        "KL Optimal": kl_optimal,
        "Simple": simple,
        "Normal": normal,
        "DDIM": ddim,
        "Beta": beta,
    }
)
