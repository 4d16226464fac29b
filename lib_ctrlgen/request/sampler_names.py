"""The names and aliases of the WebUI 1.10.1's samplers and schedulers, readable without importing torch.

A sampler's name may end in a scheduler, as in infotexts of older WebUIs: `DPM++ 2M Karras`.

>>> choose("dpm++ 2m", "Automatic")
Choice(sampler='DPM++ 2M', scheduler='Karras')
>>> choose("k_euler_a", "sgm_uniform")
Choice(sampler='Euler a', scheduler='SGM Uniform')
>>> choose("Euler b")  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
lib_ctrlgen.errors.RequestError: sampler: unknown sampler 'Euler b'; nearest: Euler a, Euler, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from lib_ctrlgen.errors import RequestError, nearest

AUTOMATIC = "Automatic"
UNIFORM, KARRAS, EXPONENTIAL = "Uniform", "Karras", "Exponential"


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A sampler of the WebUI.

    scheduler   the scheduler that "Automatic" selects; None for samplers over timesteps, which take none
    doubled     whether it counts two U-Net calls per step (second order)
    discards    whether it leaves out the sigma before the last one
    least       the smallest number of steps with which it makes a picture
    adaptive    whether it chooses its steps by the whole batch, so that pictures depend on each other
    """

    name: str
    aliases: tuple[str, ...]
    scheduler: str | None = UNIFORM
    doubled: bool = False
    discards: bool = False
    least: int = 1
    adaptive: bool = False

    def total_steps(self, steps: int) -> int:
        """The number of U-Net calls by which progress is divided, as in the WebUI."""
        return 2 * steps if self.doubled else steps


ALL = (
    Sampler(name="DPM++ 2M", aliases=("k_dpmpp_2m",), scheduler=KARRAS),
    Sampler(name="DPM++ SDE", aliases=("k_dpmpp_sde",), scheduler=KARRAS, doubled=True),
    Sampler(name="DPM++ 2M SDE", aliases=("k_dpmpp_2m_sde",), scheduler=EXPONENTIAL, least=2),
    Sampler(name="DPM++ 2M SDE Heun", aliases=("k_dpmpp_2m_sde_heun",), scheduler=EXPONENTIAL, least=2),
    Sampler(name="DPM++ 2S a", aliases=("k_dpmpp_2s_a",), scheduler=KARRAS, doubled=True),
    Sampler(name="DPM++ 3M SDE", aliases=("k_dpmpp_3m_sde",), scheduler=EXPONENTIAL, least=2, discards=True),
    Sampler(name="Euler a", aliases=("k_euler_a", "k_euler_ancestral")),
    Sampler(name="Euler", aliases=("k_euler",)),
    Sampler(name="LMS", aliases=("k_lms",)),
    Sampler(name="Heun", aliases=("k_heun",), doubled=True),
    Sampler(name="DPM2", aliases=("k_dpm_2",), scheduler=KARRAS, doubled=True, discards=True),
    Sampler(name="DPM2 a", aliases=("k_dpm_2_a",), scheduler=KARRAS, doubled=True, discards=True),
    Sampler(name="DPM fast", aliases=("k_dpm_fast",)),
    Sampler(name="DPM adaptive", aliases=("k_dpm_ad",), adaptive=True),
    Sampler(name="Restart", aliases=("restart",), scheduler=KARRAS, doubled=True),
    Sampler(name="DDIM", aliases=("ddim",), scheduler=None, least=2),
    Sampler(name="DDIM CFG++", aliases=("ddim_cfgpp",), scheduler=None, least=2),
    Sampler(name="PLMS", aliases=("plms",), scheduler=None, least=2),
    Sampler(name="UniPC", aliases=("unipc",), scheduler=None, least=3),
    Sampler(name="LCM", aliases=("k_lcm",)),
)
SAMPLERS: Mapping[str, Sampler] = MappingProxyType({each.name: each for each in ALL})
SCHEDULERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        AUTOMATIC: ("automatic",),
        UNIFORM: ("uniform",),
        KARRAS: ("karras",),
        EXPONENTIAL: ("exponential",),
        "Polyexponential": ("polyexponential",),
        "SGM Uniform": ("sgm_uniform", "SGMUniform"),
        "KL Optimal": ("kl_optimal",),
        "Align Your Steps": ("align_your_steps",),
        "Simple": ("simple",),
        "Normal": ("normal",),
        "DDIM": ("ddim",),
        "Beta": ("beta",),
    }
)


class Choice(NamedTuple):
    """A sampler and a scheduler by their own names; the scheduler is '' for samplers that take none."""

    sampler: str
    scheduler: str


@lru_cache(maxsize=1)
def sampler_names() -> tuple[str, ...]:
    """All names of samplers: their own names, these followed by each scheduler, and their aliases."""
    scheduled = (
        f"{each.name} {label}" for each in ALL if each.scheduler for label in SCHEDULERS if label != AUTOMATIC
    )
    aliases = (alias for each in ALL for alias in each.aliases)
    own = tuple(SAMPLERS)
    folded = {name.lower() for name in own}
    return (*own, *scheduled, *(alias for alias in aliases if alias not in folded))


def choose(sampler: str, scheduler: str = AUTOMATIC) -> Choice:
    """The sampler and scheduler that a request's names mean, ignoring case.

    Raises RequestError at `sampler` or `scheduler` for an unknown name, with the nearest names, or for a
    scheduler that the sampler does not take.
    """
    found = _readings().get(_folded(sampler))
    if found is None:
        raise RequestError("sampler", f"unknown sampler {sampler!r}; {nearest(sampler, sampler_names())}")
    label = _labels().get(_folded(scheduler))
    if label is None:
        raise RequestError("scheduler", f"unknown scheduler {scheduler!r}; {nearest(scheduler, SCHEDULERS)}")
    name, ending = found
    if AUTOMATIC not in (ending, label) and ending != label:
        raise RequestError("scheduler", f"the sampler's name ends with {ending} already: leave one out")
    own, wanted = SAMPLERS[name].scheduler, ending if label == AUTOMATIC else label
    if own is not None:
        return Choice(name, own if wanted == AUTOMATIC else wanted)
    if wanted == AUTOMATIC:
        return Choice(name, "")
    place = "scheduler" if label != AUTOMATIC else "sampler"
    raise RequestError(place, f"{name} steps through timesteps and takes no scheduler: leave {wanted} out")


def check_steps(sampler: str, steps: int) -> None:
    """Raise RequestError at `steps` for fewer steps than the sampler needs; `sampler` is its own name."""
    least = SAMPLERS[sampler].least
    if steps < least:
        raise RequestError("steps", f"{sampler} needs at least {least} steps, got {steps}")


def _folded(name: str) -> str:
    return " ".join(name.lower().split())


@lru_cache(maxsize=1)
def _labels() -> Mapping[str, str]:
    """The label of each scheduler by its names in lower case."""
    return {name.lower(): label for label, others in SCHEDULERS.items() for name in (label, *others)}


@lru_cache(maxsize=1)
def _readings() -> Mapping[str, tuple[str, str]]:
    """The sampler and the scheduler (or '') that each name of a sampler means, by the name in lower case."""
    names = {name.lower(): each.name for each in ALL for name in (each.name, *each.aliases)}
    scheduled = {
        f"{name} {ending}": (own, label) for name, own in names.items() for ending, label in _labels().items()
    }
    return {**scheduled, **{name: (own, AUTOMATIC) for name, own in names.items()}}
