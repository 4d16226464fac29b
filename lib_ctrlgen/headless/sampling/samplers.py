"""The WebUI's samplers: k-diffusion's functions, and those that it lacks (in `solvers`).

Every sampler gets the WebUI's defaults: eta 1 for k-diffusion's and 0 for DDIM's, no churn, noise with
standard deviation 1, and for SDE solvers a Brownian tree with the picture's seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.sampler_names import Choice

from .denoisers import LcmDenoiser, SigmaDenoiser, TimestepDenoiser
from .guidance import CFG_PLUS_PLUS, GuidedUNet
from .kdiffusion import k_sampling
from .noise_levels import LcmLevels, NoiseLevels
from .schedulers import sigmas_of
from .solvers.ddim import ddim, ddim_cfgpp, plms
from .solvers.lcm import lcm
from .solvers.restart import restart
from .solvers.unipc import unipc


@dataclass(frozen=True, kw_only=True)
class SamplerInputs:
    """The inputs of a sampler: the U-Net, its noise schedule, and the source of new noise.

    `choice` is the sampler and its scheduler. `seeds` and `generators` have one entry per picture; the
    generators have already drawn the initial noise.
    """

    choice: Choice
    steps: int
    unet: GuidedUNet
    alphas_cumprod: Tensor
    velocity: bool
    seeds: Sequence[int]
    generators: Sequence[Generator]

    def noise(self, *_sigmas: object) -> Tensor:
        """New noise [B, 4, h, w] from each picture's CPU generator; k-diffusion's sigmas are ignored."""
        height, width = (side // 8 for side in self.unet.size)
        drawn = [torch.randn((4, height, width), generator=each) for each in self.generators]
        return torch.stack(drawn).to(self.unet.networks.unet.device)

    def sigmas(self, levels: NoiseLevels) -> Tensor:
        """The sigmas of the scheduler."""
        return sigmas_of(self.choice, self.steps, levels, sdxl=self.unet.networks.sized)


class BrownianNoise:
    """The noise of SDE solvers: increments of a Brownian tree for each picture, drawn on the CPU.

    The tree is made at the first call, because it cannot be made over a single sigma.
    """

    def __init__(self, like: Tensor, sigmas: Tensor, seeds: Sequence[int]) -> None:
        self.like, self.sigmas, self.seeds = like, sigmas, list(seeds)
        self.tree: Any = None

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Noise [B, 4, h, w] with standard deviation 1 between two sigmas."""
        if self.tree is None:
            kept = self.sigmas[self.sigmas > 0]
            empty = torch.zeros(self.like.shape)
            self.tree = k_sampling().BrownianTreeNoiseSampler(empty, kept.min(), kept.max(), self.seeds)
        with warnings.catch_warnings():  # torchsde warns about interval ends that differ by rounding
            warnings.simplefilter("ignore", UserWarning)
            found: Tensor = self.tree(torch.as_tensor(sigma).cpu(), torch.as_tensor(sigma_next).cpu())
        return found.to(self.like.device)


Sample: TypeAlias = Callable[[SamplerInputs, Tensor], Tensor]


def of_k(function: str, noise: str = "", **options: Any) -> Sample:
    """A sampler from k-diffusion's `function`; `noise` chooses its noise: "tree", "generator" or none."""

    def sample(run: SamplerInputs, start: Tensor) -> Tensor:
        levels = NoiseLevels.of(run.alphas_cumprod)
        sigmas = run.sigmas(levels)
        model = SigmaDenoiser(run.unet, levels, run.velocity)
        given = dict(options)
        if noise:
            given["noise_sampler"] = BrownianNoise(start, sigmas, run.seeds) if noise == "tree" else run.noise
        call = getattr(k_sampling(), function)
        made: Tensor = call(model, start * sigmas[0], sigmas, disable=True, **given)
        return made

    return sample


def of_dpm(function: str, **options: Any) -> Sample:
    """A sampler from k-diffusion's DPM-Solvers, which choose sigmas between the highest and lowest."""

    def sample(run: SamplerInputs, start: Tensor) -> Tensor:
        levels = NoiseLevels.of(run.alphas_cumprod)
        model = finite(SigmaDenoiser(run.unet, levels, run.velocity))
        given = options | ({"n": run.steps} if function == "sample_dpm_fast" else {})
        ends = {"sigma_min": levels.lowest, "sigma_max": levels.highest}
        x = start * run.sigmas(levels)[0]
        call = getattr(k_sampling(), function)
        made: Tensor = call(model, x, **ends, disable=True, eta=1.0, noise_sampler=run.noise, **given)
        return made

    return sample


def finite(model: SigmaDenoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """The model with a HostError for results that are not finite: DPM adaptive would retry for ever."""

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        found = model(x, sigma)
        if not torch.isfinite(found).all():
            raise HostError(
                "the latents are not finite (NaN or infinity) in mid-sampling: the checkpoint is "
                "damaged, or overflows in half precision"
            )
        return found

    return call


def of_timesteps(function: Callable[[TimestepDenoiser, Tensor, int], Tensor]) -> Sample:
    """A sampler from a solver that steps through timesteps."""

    def sample(run: SamplerInputs, start: Tensor) -> Tensor:
        return function(TimestepDenoiser(run.unet, run.alphas_cumprod, run.velocity), start, run.steps)

    return sample


def sample_restart(run: SamplerInputs, start: Tensor) -> Tensor:
    """The sampler "Restart"."""
    levels = NoiseLevels.of(run.alphas_cumprod)
    sigmas = run.sigmas(levels)
    return restart(SigmaDenoiser(run.unet, levels, run.velocity), start * sigmas[0], sigmas, run.noise)


def sample_lcm(run: SamplerInputs, start: Tensor) -> Tensor:
    """The sampler "LCM"."""
    levels = LcmLevels.of(run.alphas_cumprod)
    sigmas = run.sigmas(levels)
    return lcm(LcmDenoiser(run.unet, levels, run.velocity), start * sigmas[0], sigmas, run.noise)


SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "DPM++ 2M": of_k("sample_dpmpp_2m"),
        "DPM++ SDE": of_k("sample_dpmpp_sde", "tree"),
        "DPM++ 2M SDE": of_k("sample_dpmpp_2m_sde", "tree"),
        "DPM++ 2M SDE Heun": of_k("sample_dpmpp_2m_sde", "tree", solver_type="heun"),
        "DPM++ 2S a": of_k("sample_dpmpp_2s_ancestral", "generator"),
        "DPM++ 3M SDE": of_k("sample_dpmpp_3m_sde", "tree"),
        "Euler a": of_k("sample_euler_ancestral", "generator"),
        "Euler": of_k("sample_euler"),
        "LMS": of_k("sample_lms"),
        "Heun": of_k("sample_heun"),
        "DPM2": of_k("sample_dpm_2"),
        "DPM2 a": of_k("sample_dpm_2_ancestral", "generator"),
        "DPM fast": of_dpm("sample_dpm_fast"),
        "DPM adaptive": of_dpm("sample_dpm_adaptive"),
        "Restart": sample_restart,
        "DDIM": of_timesteps(ddim),
        "DDIM CFG++": of_timesteps(ddim_cfgpp),
        "PLMS": of_timesteps(plms),
        "UniPC": of_timesteps(unipc),
        "LCM": sample_lcm,
    }
)


def sampled(run: SamplerInputs, start: Tensor) -> Tensor:
    """Run the sampler on noise of standard deviation 1; returns the clean latents [B, 4, h, w].

    Raises RequestError at `$.sampler` where k-diffusion is needed and not installed.
    """
    with torch.no_grad():
        return SAMPLES[run.choice.sampler](run, start)


def needs_guidance(sampler: str) -> bool:
    """Whether a sampler always needs the unconditional prediction, also at guidance scale 1."""
    return sampler == "DDIM CFG++"


def scale_divisor(sampler: str) -> float:
    """The number that a sampler divides the guidance scale by."""
    return CFG_PLUS_PLUS if sampler == "DDIM CFG++" else 1.0
