"""DDIM (Song, Meng and Ermon 2021), CFG++ (Chung et al. 2024) and PLMS (Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lib_ctrlgen.headless.sampling.denoisers import TimestepDenoiser

# Adams-Bashforth coefficients of the predictions, newest first, by their number
ADAMS_BASHFORTH = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def even_timesteps(steps: int, train_steps: int = 1000) -> list[int]:
    """The timesteps 1, 1 + s, 1 + 2 s, ... with an integer stride s; `steps` of them or a few more."""
    return [min(each + 1, train_steps - 1) for each in range(0, train_steps, train_steps // steps)]


def step_levels(model: TimestepDenoiser, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each step: its timestep, that of the next step, and `alphas_cumprod` at its start and its end.

    The last step ends at the first timestep, so that n timesteps are n - 1 steps, as in the WebUI.
    """
    times = even_timesteps(steps, len(model.alphas_cumprod))
    alphas = model.alphas_cumprod[times]
    for index in range(len(times) - 1, 0, -1):
        yield torch.tensor(times[index]), torch.tensor(times[index - 1]), alphas[index], alphas[index - 1]


def ddim_step(x: Tensor, noise: Tensor, start: Tensor, end: Tensor, away: Tensor | None = None) -> Tensor:
    """Step from x at level `start` to level `end`: equation 12 of DDIM, without new noise.

    `away` is the noise that is added at `end`, by default the predicted noise that is removed.
    """
    clean = (x - (1 - start).sqrt() * noise) / start.sqrt()
    return end.sqrt() * clean + (1 - end).sqrt() * (noise if away is None else away)


def ddim(model: TimestepDenoiser, x: Tensor, steps: int) -> Tensor:
    """Sample with DDIM from noise of standard deviation 1; returns latents [B, 4, h, w]."""
    for time, _, start, end in step_levels(model, steps):
        x = ddim_step(x, model(x, time.to(x.device).expand(len(x))), start, end)
    return x


def ddim_cfgpp(model: TimestepDenoiser, x: Tensor, steps: int) -> Tensor:
    """DDIM that adds the unconditional noise (CFG++). The guidance scale must be divided by 12.5."""
    for time, _, start, end in step_levels(model, steps):
        noise = model(x, time.to(x.device).expand(len(x)))
        x = ddim_step(x, noise, start, end, model.uncond)
    return x


def plms(model: TimestepDenoiser, x: Tensor, steps: int) -> Tensor:
    """PLMS: DDIM with a combination of up to four predictions. The first step calls the U-Net twice."""
    seen: list[Tensor] = []
    for time, coming, start, end in step_levels(model, steps):
        here, there = (each.to(x.device).expand(len(x)) for each in (time, coming))
        seen = [model(x, here), *seen[:3]]
        if len(seen) == 1:
            noise = (seen[0] + model(ddim_step(x, seen[0], start, end), there)) / 2
        else:
            weights = ADAMS_BASHFORTH[len(seen) - 1]
            noise = torch.stack([w * each for w, each in zip(weights, seen, strict=True)]).sum(0)
        x = ddim_step(x, noise, start, end)
    return x
