"""The prediction type of a checkpoint's U-Net (epsilon or v), and the betas of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from lib_ctrlgen.errors import ModelError

PREDICTIONS = ("epsilon", "v_prediction")
LAST_ALPHA = 4.8973451890853435e-08  # the WebUI's stand-in for zero, so that the first sigma is finite


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """The scaled-linear betas (linear in their square roots) from `start` to `end`, and the prediction type.

    `zero_snr` rescales them so that the last timestep is (nearly) pure noise: Lin, Liu, Li and Yang 2023,
    Common Diffusion Noise Schedules and Sample Steps are Flawed, like the WebUI's "Zero Terminal SNR".
    """

    steps: int = 1000
    start: float = 0.00085
    end: float = 0.012
    betas: str = "scaled_linear"
    prediction: str = "epsilon"
    zero_snr: bool = False

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            known = " and ".join(PREDICTIONS)
            raise ModelError(f"the U-Net predicts {self.prediction!r}: only {known} are supported")
        if self.zero_snr and self.prediction == "epsilon":
            raise ModelError("zero terminal SNR needs v-prediction: at pure noise epsilon tells nothing")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of diffusers schedulers."""
        found: dict[str, Any] = {
            "num_train_timesteps": self.steps,
            "beta_start": self.start,
            "beta_end": self.end,
            "beta_schedule": self.betas,
            "prediction_type": self.prediction,
        }
        return found | {"trained_betas": self._rescaled()} if self.zero_snr else found

    def _rescaled(self) -> list[float]:
        """Betas rescaled so that alphas_cumprod ends at `LAST_ALPHA` and starts where it did."""
        if self.betas != "scaled_linear":
            raise ModelError(f"zero terminal SNR with betas '{self.betas}' is not supported")
        roots = torch.linspace(self.start**0.5, self.end**0.5, self.steps, dtype=torch.float64)
        alphas = (1 - roots**2).cumprod(0).sqrt()
        first, last = alphas[0].clone(), alphas[-1].clone()
        products = ((alphas - last) * first / (first - last)) ** 2
        products[-1] = LAST_ALPHA
        before = torch.cat([torch.ones(1, dtype=torch.float64), products[:-1]])
        return (1 - products / before).tolist()


def alphas_cumprod_of(arguments: Mapping[str, Any]) -> Tensor:
    """alphas_cumprod [T] from the arguments of diffusers' schedulers, computed in float64.

    The WebUI computes it in float64 too; diffusers uses float32.
    """
    kind, steps = arguments["beta_schedule"], arguments["num_train_timesteps"]
    if arguments.get("trained_betas") is not None:
        betas = torch.tensor(arguments["trained_betas"], dtype=torch.float64)
    elif kind in {"linear", "scaled_linear"}:
        power = 2 if kind == "scaled_linear" else 1
        start, end = (arguments[name] ** (1 / power) for name in ("beta_start", "beta_end"))
        betas = torch.linspace(start, end, steps, dtype=torch.float64) ** power
    else:
        found: Tensor = DDIMScheduler(**arguments).alphas_cumprod
        return found
    return (1 - betas).cumprod(0).float()
