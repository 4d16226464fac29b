"""The headless engine: a request in, pictures out.

>>> from lib_ctrlgen.spec import GenerationRequest
>>> request = GenerationRequest(prompt="a red star", width=128, height=128, steps=8)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.clocks import CountingClock
from lib_ctrlgen.controls import load_units
from lib_ctrlgen.errors import RequestError, at_path, nearest
from lib_ctrlgen.plan import StepPlan
from lib_ctrlgen.prompt import parse_prompt
from lib_ctrlgen.session import ControlSession
from lib_ctrlgen.spec import GenerationRequest
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.unet import DiffusersUNet
from lib_ctrlgen.units import ActiveUnit

from .guided import guided_pipeline
from .load import Networks, Place, load_networks
from .prompts import PromptEncoder, PromptPair, require_plain
from .samplers import find_sampler, make_scheduler

Progress: TypeAlias = Callable[[int, int], None]
DEFAULT_BUDGET = 8 << 30


@dataclass(frozen=True, kw_only=True)
class ControlMap:
    """What a unit's network saw; `index` is the unit's place in the request."""

    index: int
    model: str
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The outcome of a request. `images[i]` was made with `seeds[i]`.

    `plan` has one step per U-Net call: second-order samplers call more often than `steps`.
    """

    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    control_maps: tuple[ControlMap, ...]
    plan: StepPlan
    seconds: float


@runtime_checkable
class Shown(Protocol):
    """A prepared control that can show what its network sees."""

    def control_map(self, width: int, height: int) -> Image.Image:
        """The picture that the network sees, for a generation of this size in pixels."""


class Engine:
    """Generates on diffusers with every model from one store. One generation at a time.

    `roots` are the model folders; whatever is loaded stays in memory up to `budget_bytes`.
    """

    def __init__(
        self, roots: Sequence[Path], budget_bytes: int = DEFAULT_BUDGET, place: Place | None = None
    ) -> None:
        self.store = ModelStore(roots, budget_bytes)
        self.place = place or Place.best()
        self._lock = Lock()

    def generate(self, request: GenerationRequest, progress: Progress | None = None) -> Generation:
        """Make the pictures of a request; `progress(done, calls)` is told after every U-Net call.

        Raises RequestError with the place of what is wrong, before anything is sampled.
        """
        start = perf_counter()
        find_sampler(request.sampler)
        prompts = prompts_of(request)
        networks = self.load(request.model)
        port = DiffusersUNet(networks.unet)
        units = load_units(
            request.units, self.store, port.shape, device=self.place.device, dtype=networks.unet.dtype
        )
        with self._lock:
            images, plan = sample(request, prompts, networks, units, progress)
        return Generation(
            images=tuple(images),
            seeds=seeds_of(request),
            control_maps=control_maps(units, request.width, request.height),
            plan=plan,
            seconds=perf_counter() - start,
        )

    def load(self, model: str) -> Networks:
        """The networks of a model by name or path. Raises RequestError at `$.model`."""
        with at_path("$.model"):
            return load_networks(find_model(self.store, model), self.store, self.place)


def find_model(store: ModelStore, name: str) -> Path:
    """The file of a checkpoint, or the diffusers folder, of this name. Raises ModelError.

    A path is accepted only inside a model folder.
    """
    folders = (root / name for root in store.roots if _is_folder_in(root, name))
    return next(folders, None) or store.resolve(name)


def _is_folder_in(root: Path, name: str) -> bool:
    """Whether a diffusers folder of this name lies under a root. No name raises."""
    with suppress(OSError, ValueError):
        folder = root / name
        return folder.resolve().is_relative_to(root.resolve()) and (folder / "model_index.json").is_file()
    return False


def seeds_of(request: GenerationRequest) -> tuple[int, ...]:
    """One seed per picture."""
    return tuple(request.seed + i for i in range(request.batch_size))


def prompts_of(request: GenerationRequest) -> PromptPair:
    """The request's prompts, read. Raises RequestError at the prompt, or at a name that neither has."""
    read = []
    for path in ("negative_prompt", "prompt"):
        text = getattr(request, path)
        with at_path(f"$.{path}"):
            prompt = parse_prompt(text)
        require_plain(prompt.at(0.0), f"$.{path}")
        read.append(prompt)
    known = {weight.name for prompt in read for weight in prompt.weights if weight.name}
    for name in request.prompt_weights:
        if name not in known:
            message = f"no prompt has a weight of this name ({nearest(name, known)})"
            raise RequestError(f"$.prompt_weights.{name}", message)
    return PromptPair(negative=read[0], positive=read[1], named=request.prompt_weights)


def sample(
    request: GenerationRequest,
    prompts: PromptPair,
    networks: Networks,
    units: Sequence[ActiveUnit],
    progress: Progress | None = None,
) -> tuple[list[Image.Image], StepPlan]:
    """Run diffusers' pipeline under the units' control. The U-Net is left as it was.

    Noise comes from CPU generators, so a seed gives the same start on every device.
    """
    seeds = seeds_of(request)
    scheduler = make_scheduler(request.sampler, request.steps, networks.noise, seeds)
    calls = len(scheduler.timesteps)
    guided = request.cfg_scale.bounds[1] > 1
    encoder = PromptEncoder(tokenizer=networks.tokenizer, text_encoder=networks.text_encoder)
    clock = CountingClock(calls, request.batch_size, guided=guided)
    uncond, cond = conditioning(encoder, prompts, 0.0, request.batch_size)

    def step_done(pipeline: Any, step: int, _timestep: object, values: dict[str, Any]) -> dict[str, Any]:
        if progress is not None:
            progress(step + 1, calls)
        place = (step + 1) / calls
        pipeline.guide(request.cfg_scale(place))
        if prompts.at(place) != prompts.at(step / calls):
            pair = conditioning(encoder, prompts, place, request.batch_size)
            values["prompt_embeds"] = torch.cat(pair) if guided else pair[1]
        return values

    with ControlSession(DiffusersUNet(networks.unet), units, clock) as session:
        made = guided_pipeline(networks, scheduler, guided=guided)(
            prompt_embeds=cond,
            negative_prompt_embeds=uncond,
            height=request.height,
            width=request.width,
            num_inference_steps=request.steps,
            guidance_scale=request.cfg_scale(0.0),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=step_done,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        )
        return list(made.images), session.plan_for(calls)


def conditioning(
    encoder: PromptEncoder, prompts: PromptPair, progress: float, batch: int
) -> tuple[Tensor, Tensor]:
    """The prompts' features [batch, T, X] at `progress`, the negative ones first."""
    uncond, cond = encoder.encode(prompts.at(progress))
    return uncond.repeat(batch, 1, 1), cond.repeat(batch, 1, 1)


def control_maps(units: Sequence[ActiveUnit], width: int, height: int) -> tuple[ControlMap, ...]:
    """What each unit's network saw, in the order of the units."""
    return tuple(
        ControlMap(index=unit.index, model=unit.spec.model, image=unit.control.control_map(width, height))
        for unit in units
        if isinstance(unit.control, Shown)
    )
