"""PLMS for a U-Net that predicts v."""

from __future__ import annotations

from typing import Any

from diffusers import PNDMScheduler
from torch import Tensor


class PlmsOfV(PNDMScheduler):  # type: ignore[misc]
    """diffusers' PLMS (Liu et al. 2022, arXiv 2202.09778), told epsilon of every v.

    PLMS averages what the last steps predicted. That is epsilon, in the paper and in the WebUI;
    diffusers by itself averages v, which stands for other pictures at other steps.
    """

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, return_dict: bool = True) -> Any:
        """One step from v and latents [B, C, h, w] at `timestep`."""
        alpha = self.alphas_cumprod[int(timestep)].to(sample)
        epsilon = alpha.sqrt() * model_output + (1 - alpha).sqrt() * sample
        return super().step(epsilon, timestep, sample, return_dict=return_dict)
