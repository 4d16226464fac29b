"""A DDIM sampler with guidance for previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from .data import to_pictures
from .networks import SCALE_FACTOR, new_schedule

Predict = Callable[[Tensor, Tensor], Tensor]  # latents [2B, 4, h, w] (uncond first), timestep -> noise


def sampler(steps: int) -> DDIMScheduler:
    """A DDIM scheduler (arXiv 2010.02502) with SD1.5's noise schedule."""
    ddim = DDIMScheduler.from_config(
        new_schedule().config, set_alpha_to_one=False, steps_offset=1, clip_sample=False
    )
    ddim.set_timesteps(steps)
    return ddim


@torch.no_grad()
def sample(
    predict: Predict,
    vae: AutoencoderKL,
    seeds: Sequence[int],
    size: tuple[int, int] = (128, 128),
    steps: int = 20,
    guidance: float = 4.0,
) -> NDArray[np.uint8]:
    """Generate pictures [B, H, W, 3], one for each seed."""
    shape = (4, size[0] // 8, size[1] // 8)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    latents, ddim = torch.stack(noise), sampler(steps)
    for step in ddim.timesteps:
        uncond, cond = predict(torch.cat([latents, latents]), step).float().chunk(2)
        guided = uncond + guidance * (cond - uncond)
        latents = ddim.step(guided, step, latents).prev_sample
    return to_pictures(vae.decode(latents / SCALE_FACTOR).sample)
