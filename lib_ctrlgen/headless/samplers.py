"""The WebUI's sampler names as diffusers schedulers.

A name may end in a noise schedule: `Euler Karras`, `DPM++ 2M Exponential`, `Heun Uniform`.
Without one a sampler takes the schedule that the WebUI's "Automatic" takes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from lib_ctrlgen.errors import RequestError, nearest


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A diffusers scheduler and its options; `automatic` is its own noise schedule.

    `sigmas` is False for samplers that step through timesteps and take no noise schedule.
    `needs` is a package that the scheduler wants beside diffusers. `of_v` is the module and the class
    for U-Nets that predict v, where diffusers' own does not read them as epsilon.
    """

    scheduler: str
    automatic: str = "Uniform"
    options: Mapping[str, Any] = field(default_factory=dict)
    sigmas: bool = True
    needs: str = ""
    of_v: tuple[str, str] | None = None


_LEADING = {"timestep_spacing": "leading"}
_DDIM = {**_LEADING, "clip_sample": False, "set_alpha_to_one": False}
_PLMS = {**_LEADING, "skip_prk_steps": True, "set_alpha_to_one": False}
_PLMS_OF_V = ("lib_ctrlgen.headless.plms", "PlmsOfV")
_TWO = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_TWO_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
_THREE_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "Euler": Sampler(scheduler="EulerDiscreteScheduler"),
        "Euler a": Sampler(scheduler="EulerAncestralDiscreteScheduler", sigmas=False),
        "Heun": Sampler(scheduler="HeunDiscreteScheduler"),
        "LMS": Sampler(scheduler="LMSDiscreteScheduler", needs="scipy"),
        "DPM2": Sampler(scheduler="KDPM2DiscreteScheduler", automatic="Karras"),
        "DPM2 a": Sampler(scheduler="KDPM2AncestralDiscreteScheduler", automatic="Karras"),
        "DPM++ 2M": Sampler(scheduler="DPMSolverMultistepScheduler", automatic="Karras", options=_TWO),
        "DPM++ 2M SDE": Sampler(
            scheduler="DPMSolverMultistepScheduler", automatic="Exponential", options=_TWO_SDE
        ),
        "DPM++ 3M SDE": Sampler(
            scheduler="DPMSolverMultistepScheduler", automatic="Exponential", options=_THREE_SDE
        ),
        "DPM++ SDE": Sampler(scheduler="DPMSolverSDEScheduler", automatic="Karras", needs="torchsde"),
        "DDIM": Sampler(scheduler="DDIMScheduler", options=_DDIM, sigmas=False),
        "PLMS": Sampler(scheduler="PNDMScheduler", options=_PLMS, sigmas=False, of_v=_PLMS_OF_V),
        "UniPC": Sampler(scheduler="UniPCMultistepScheduler", options={"solver_order": 3}, sigmas=False),
    }
)

NOISE_SCHEDULES: Mapping[str, Mapping[str, bool]] = MappingProxyType(
    {
        "Uniform": {},
        "Karras": {"use_karras_sigmas": True},
        "Exponential": {"use_exponential_sigmas": True},
    }
)


def sampler_names() -> tuple[str, ...]:
    """Every name that `find_sampler` knows, with and without a noise schedule."""
    scheduled = tuple(
        f"{name} {noise}" for name, sampler in SAMPLERS.items() if sampler.sigmas for noise in NOISE_SCHEDULES
    )
    return (*SAMPLERS, *scheduled)


def find_sampler(name: str) -> tuple[Sampler, str]:
    """The sampler of a name in any case, and its noise schedule.

    Raises RequestError at `$.sampler` that lists the nearest names, or says what to install.
    """
    known = {item.lower(): item for item in sampler_names()}
    found = known.get(" ".join(name.lower().split()))
    if found is None:
        raise RequestError("$.sampler", f"unknown sampler {name!r}; {nearest(name, sampler_names())}")
    base, noise = _split(found)
    sampler = SAMPLERS[base]
    if sampler.needs and find_spec(sampler.needs) is None:
        message = f"{base} needs the package {sampler.needs}: pip install {sampler.needs}, or choose another"
        raise RequestError("$.sampler", message)
    return sampler, noise or sampler.automatic


def _split(name: str) -> tuple[str, str]:
    """A known name as the sampler's and the noise schedule's, `''` when it has none."""
    base, _, last = name.rpartition(" ")
    return (base, last) if last in NOISE_SCHEDULES else (name, "")


def make_scheduler(name: str, steps: int, config: Mapping[str, Any], seeds: Sequence[int]) -> Any:
    """A new diffusers scheduler, its timesteps set, for a model whose noise is `config`.

    `len(scheduler.timesteps)` is the number of U-Net calls, which is more than `steps` for
    second-order samplers. `seeds`, one per picture, are for schedulers that draw noise by
    themselves. Raises RequestError at `$.sampler`.
    """
    sampler, noise = find_sampler(name)
    spacing = "linspace" if steps > 1 else "trailing"  # a single step starts at the noisy end
    options: dict[str, Any] = {"steps_offset": 1, "timestep_spacing": spacing, **config}
    if sampler.sigmas:
        options |= NOISE_SCHEDULES[noise]
    options |= sampler.options
    if sampler.scheduler == "DPMSolverSDEScheduler":
        options["noise_sampler_seed"] = list(seeds)
    module, name = "diffusers", sampler.scheduler
    if sampler.of_v is not None and options.get("prediction_type") == "v_prediction":
        (module, name), options["prediction_type"] = sampler.of_v, "epsilon"
    scheduler = getattr(import_module(module), name)(**options)
    if noise == "Exponential":
        _prepare_exponential(scheduler, steps)
    scheduler.set_timesteps(steps)
    return scheduler


def _prepare_exponential(scheduler: Any, steps: int) -> None:
    """Say what diffusers 0.31 needs to know before it sets exponential sigmas.

    Its multistep solver otherwise runs them backwards, and reads the number of steps too early.
    """
    products = scheduler.alphas_cumprod
    sigmas = ((1 - products) / products) ** 0.5
    scheduler.register_to_config(sigma_min=float(sigmas.min()), sigma_max=float(sigmas.max()))
    scheduler.num_inference_steps = steps
