"""The headless engine: a request in, pictures out.

>>> from lib_ctrlgen.spec import GenerationRequest
>>> request = GenerationRequest(prompt="a red star", width=128, height=128, steps=8)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from msgspec.structs import replace
from PIL import Image
from torch import Tensor

from lib_ctrlgen.clocks import CountingClock
from lib_ctrlgen.controls import load_concepts, load_units
from lib_ctrlgen.errors import at_path
from lib_ctrlgen.explore import map_cells
from lib_ctrlgen.plan import StepPlan
from lib_ctrlgen.regions import combination_of
from lib_ctrlgen.session import ControlSession
from lib_ctrlgen.spec import GenerationRequest
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.trajectory import Trajectory
from lib_ctrlgen.unet import DiffusersUNet
from lib_ctrlgen.units import ActiveUnit

from .conditions import Conditions, prompts_of, trajectory_of
from .guided import guided_pipeline
from .load import Networks, Place, load_networks
from .noise import first_noise, generators_of, seeds_of
from .prompts import PromptEncoder
from .rows import PartRows
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
        prompts_of(request)
        networks = self.load(request.model)
        port = DiffusersUNet(networks.unet)
        placed = {"device": self.place.device, "dtype": networks.unet.dtype}
        units = (
            *load_units(request.units, self.store, port.shape, **placed),
            *load_concepts(request.blend, self.store, port.shape, **placed),
        )
        cells = map_requests(request)
        images: list[Image.Image] = []
        with self._lock:
            for number, cell in enumerate(cells):
                told = told_of(progress, number, len(cells))
                made, plan = walked(cell, networks, units, told)
                images += made
        return Generation(
            images=tuple(images),
            seeds=seeds_of(request) * len(cells),
            control_maps=control_maps(units, request.width, request.height),
            plan=plan,
            seconds=perf_counter() - start,
        )

    def load(self, model: str) -> Networks:
        """The networks of a model by name or path. Raises RequestError at `$.model`."""
        with at_path("$.model"):
            return load_networks(find_model(self.store, model), self.store, self.place)


def map_requests(request: GenerationRequest) -> tuple[GenerationRequest, ...]:
    """The request of each picture of a map; the request itself where none is asked for."""
    if request.blend is None:
        return (request,)
    return tuple(replace(request, blend=blend) for blend in map_cells(request.blend))


def told_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What the run of one of `count` pictures tells, as part of the whole."""
    if progress is None:
        return None
    return lambda done, calls: progress(number * calls + done, count * calls)


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


def walked(
    request: GenerationRequest,
    networks: Networks,
    units: Sequence[ActiveUnit],
    progress: Progress | None = None,
) -> tuple[list[Image.Image], StepPlan]:
    """The pictures of a request; a trajectory as often as it takes to place its pictures."""
    steps = trajectory_of(request)
    runs = 1 + (request.blend.rounds if request.blend else 0)
    for number in range(runs):
        told = told_of(progress, number, runs)
        images, plan, latents = sample(request, networks, units, steps, told)
        if steps is not None and number + 1 < runs:
            steps = steps.respaced(latents)
    return images, plan


def sample(
    request: GenerationRequest,
    networks: Networks,
    units: Sequence[ActiveUnit],
    steps: Trajectory | None = None,
    progress: Progress | None = None,
) -> tuple[list[Image.Image], StepPlan, Tensor]:
    """Run diffusers' pipeline under the units' control. The U-Net is left as it was.

    Gives the pictures, the plan, and the last latents [B, 4, h, w].
    """
    prompts = prompts_of(request, steps)
    seeds = seeds_of(request)
    scheduler = make_scheduler(request.sampler, request.steps, networks.noise, seeds)
    calls = len(scheduler.timesteps)
    encoder = PromptEncoder(tokenizer=networks.tokenizer, text_encoder=networks.text_encoder)
    now = prompts.at(0.0, encoder)
    guided = request.cfg_scale.bounds[1] > 1 or not now.plain
    rows = PartRows(
        images=request.batch_size,
        combination=combination_of(request.blend, request.width, request.height),
        now=now,
    )
    last: list[Tensor] = []

    def step_done(pipeline: Any, step: int, _timestep: object, values: dict[str, Any]) -> dict[str, Any]:
        if progress is not None:
            progress(step + 1, calls)
        place = (step + 1) / calls
        last[:] = [values["latents"]]
        pipeline.guide(request.cfg_scale(place))
        if prompts.key(place) != prompts.key(step / calls):
            rows.now = prompts.at(place, encoder)
            values["prompt_embeds"] = pipeline_rows(rows.now, guided=guided)
        if steps is not None and request.blend is not None and step + 1 < calls:
            values["latents"] = steps.crossfed(values["latents"], request.blend.crossfeed(place))
        return values

    generators = generators_of(seeds)
    noise = first_noise(request, generators, steps).to(now.rows)
    clock = CountingClock(calls, request.batch_size, guided=guided, owners=now.owners)
    with ExitStack() as stack:
        if not now.plain:
            stack.enter_context(rows.installed(networks.unet))
        session = stack.enter_context(ControlSession(DiffusersUNet(networks.unet), units, clock))
        made = guided_pipeline(networks, scheduler, guided=guided)(
            prompt_embeds=now.rows[:: len(now.owners)],
            negative_prompt_embeds=now.uncond,
            height=request.height,
            width=request.width,
            num_inference_steps=request.steps,
            guidance_scale=request.cfg_scale(0.0),
            generator=generators,
            latents=noise,
            callback_on_step_end=step_done,
            callback_on_step_end_tensor_inputs=["prompt_embeds", "latents"],
        )
        return list(made.images), session.plan_for(calls), last[0]


def pipeline_rows(now: Conditions, *, guided: bool) -> Tensor:
    """The features that the pipeline holds: one conditional row per picture, the unconditional ones first."""
    cond = now.rows[:: len(now.owners)]
    return torch.cat([now.uncond, cond]) if guided else cond


def control_maps(units: Sequence[ActiveUnit], width: int, height: int) -> tuple[ControlMap, ...]:
    """What each unit's network saw, in the order of the units."""
    return tuple(
        ControlMap(index=unit.index, model=unit.spec.model, image=unit.control.control_map(width, height))
        for unit in units
        if isinstance(unit.control, Shown) and isinstance(unit.index, int)
    )
