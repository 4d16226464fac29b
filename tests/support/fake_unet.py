"""Runs a sampler with a function in place of the U-Net."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.sampling.guidance import Prediction
from lib_ctrlgen.headless.sampling.noise import generators_of
from lib_ctrlgen.headless.sampling.samplers import SamplerInputs, sampled
from lib_ctrlgen.request.sampler_names import AUTOMATIC, choose

Network: TypeAlias = Callable[[Tensor, Tensor], Tensor]

NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


class FakeUNet:
    """Notes at which timesteps it is called."""

    sized = False
    device = torch.device("cpu")
    size = (64, 64)

    def __init__(self, network: Network) -> None:
        self.network = network
        self.timesteps: list[float] = []
        self.networks = self.unet = self

    def begin(self, _x: Tensor) -> None:
        """Nothing."""

    def __call__(self, x: Tensor, timestep: Tensor) -> Prediction:
        self.timesteps.append(float(timestep[0]))
        found = self.network(x, timestep)
        return Prediction(found, found)


class SamplerRun:
    """Runs a sampler; `unet` is that of the last run."""

    def __init__(self, sampler: str, steps: int, scheduler: str = AUTOMATIC) -> None:
        self.choice, self.steps = choose(sampler, scheduler), steps
        self.alphas_cumprod = alphas_cumprod_of(NOISE)
        self.unet: FakeUNet

    def __call__(self, network: Network, *, velocity: bool = False, seeds: Sequence[int] = (0,)) -> Tensor:
        """The latents [B, 4, 8, 8] that noise of these seeds becomes."""
        self.unet, generators = FakeUNet(network), generators_of(seeds)
        start = torch.stack([torch.randn((4, 8, 8), generator=each) for each in generators])
        given: Any = {"unet": self.unet, "velocity": velocity, "seeds": seeds, "generators": generators}
        run = SamplerInputs(choice=self.choice, steps=self.steps, alphas_cumprod=self.alphas_cumprod, **given)
        return sampled(run, start)
