"""One run of diffusers' pipeline under everything that a request says, or that many alike say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.blank import note_blanks
from lib_ctrlgen.calls import LATENT_FACTOR
from lib_ctrlgen.clocks import CountingClock
from lib_ctrlgen.notices import Notices
from lib_ctrlgen.plan import StepPlan
from lib_ctrlgen.regions import combination_of
from lib_ctrlgen.session import ControlSession
from lib_ctrlgen.spec import ControlUnit, GenerationRequest
from lib_ctrlgen.trajectory import Trajectory
from lib_ctrlgen.unet import DiffusersUNet
from lib_ctrlgen.units import ActiveUnit, started, unit_variants

from .conditions import Conditions, Prompts, joined, prompts_of, trajectory_of
from .decode import pictures
from .guided import Scales, first_inputs, guided_pipeline, next_inputs
from .load import Networks
from .noise import first_noise, generators_of, seeds_of
from .precision import in_float32
from .prompts import PromptEncoder
from .rows import PartRows
from .samplers import make_scheduler

Progress: TypeAlias = Callable[[int, int], None]
Requests: TypeAlias = Sequence[GenerationRequest]


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What a run made: of each request its pictures and its plan; the last latents [B, 4, h, w].

    `rows_computed` of `rows_asked` went through the U-Net.
    """

    images: tuple[tuple[Image.Image, ...], ...]
    plans: tuple[StepPlan, ...]
    latents: Tensor
    rows_computed: int
    rows_asked: int


def walked(
    requests: Requests,
    networks: Networks,
    units: Sequence[ActiveUnit],
    encoder: PromptEncoder,
    progress: Progress | None = None,
    notices: Notices | None = None,
) -> Sampled:
    """The pictures of requests; a trajectory as often as it takes to place its pictures.

    `notices` takes the warnings.
    """
    steps, blend = trajectory_of(requests[0]), requests[0].blend
    runs = 1 + (blend.rounds if blend else 0)
    for number in range(runs):
        told = told_of(progress, number, runs)
        sampled = sample(requests, networks, units, encoder, steps, told, notices)
        if steps is not None and number + 1 < runs:
            steps = steps.respaced(sampled.latents)
    return sampled


def told_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What run number `number` of `count` tells, as part of the whole."""
    if progress is None:
        return None
    return lambda done, calls: progress(number * calls + done, count * calls)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The pictures of one run: their requests, and the prompts of each."""

    requests: tuple[GenerationRequest, ...]
    prompts: tuple[Prompts, ...]

    def scale(self, progress: float) -> Scales | float:
        """The guidance of each picture."""
        return Scales.of([r.cfg_scale(progress) for r in self.requests for _ in range(r.batch_size)])

    def key(self, progress: float) -> object:
        """What the conditions depend on: equal keys, equal conditions."""
        return [each.key(progress) for each in self.prompts]

    def conditions(self, progress: float, encoder: PromptEncoder) -> Conditions:
        """What the U-Net is told at `progress`."""
        return joined([each.at(progress, encoder) for each in self.prompts])

    def variants(self, units: Sequence[ActiveUnit]) -> list[tuple[ControlUnit, ...]]:
        """What each picture makes of `units`; empty where one request says it for all."""
        if len(self.requests) == 1:
            return []
        own = unit_variants(self.requests, units)
        return [each for each, r in zip(own, self.requests, strict=True) for _ in range(r.batch_size)]

    def starts(self) -> list[int]:
        """The first picture of each request, and the number of all pictures."""
        return list(accumulate((request.batch_size for request in self.requests), initial=0))


@dataclass
class StepsDone:
    """Called by the pipeline after each step: guidance, conditions and latents of the next one."""

    batch: Batch
    encoder: PromptEncoder
    rows: PartRows
    steps: Trajectory | None
    calls: int
    guided: bool
    progress: Progress | None
    last: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __call__(self, pipeline: Any, step: int, _timestep: object, values: dict[str, Any]) -> dict[str, Any]:
        """Change the pipeline's values; `last` keeps the latents."""
        if self.progress is not None:
            self.progress(step + 1, self.calls)
        self.last = values["latents"]
        place = (step + 1) / self.calls
        pipeline.guide(self.batch.scale(place))
        if self.batch.key(place) != self.batch.key(step / self.calls):
            self.rows.now = self.batch.conditions(place, self.encoder)
            values |= next_inputs(self.rows.now, guided=self.guided)
        blend = self.batch.requests[0].blend
        if self.steps is not None and blend is not None and step + 1 < self.calls:
            values["latents"] = self.steps.crossfed(values["latents"], blend.crossfeed(place))
        return values


def sample(
    requests: Requests,
    networks: Networks,
    units: Sequence[ActiveUnit],
    encoder: PromptEncoder,
    steps: Trajectory | None = None,
    progress: Progress | None = None,
    notices: Notices | None = None,
) -> Sampled:
    """Run diffusers' pipeline under the units' control. The U-Net is left as it was.

    Requests are alike (`lib_ctrlgen.stack`). `units` are those of the first one.
    """
    notices = notices or Notices()
    first, seeds = requests[0], [seed for request in requests for seed in seeds_of(request)]
    batch = Batch(requests=tuple(requests), prompts=tuple(prompts_of(each, steps) for each in requests))
    scheduler = make_scheduler(first.sampler, first.steps, networks.noise, seeds)
    calls = len(scheduler.timesteps)
    now = batch.conditions(0.0, encoder)
    guided = any(each.cfg_scale.bounds[1] > 1 for each in requests) or not now.plain
    combination = combination_of(first.blend, first.width, first.height)
    rows = PartRows(images=len(seeds), combination=combination, now=now)
    done = StepsDone(batch, encoder, rows, steps, calls, guided, progress)
    generators = generators_of(seeds)
    clock = CountingClock(calls, len(seeds), guided=guided, owners=now.owners, copies=now.copies)
    variants = batch.variants(units)
    noise = started(noises(batch, generators, steps), units, variants).to(now.rows.states.device)
    with ExitStack() as stack:
        stack.enter_context(in_float32(networks.unet))
        if not now.plain:
            stack.enter_context(rows.installed(networks.unet))
        controls = ControlSession(DiffusersUNet(networks.unet), units, clock, variants)
        notices.extend(controls.expected({False: calls}))
        note_blanks(units, latent_size(first), LATENT_FACTOR, notices)
        session = stack.enter_context(controls)
        pipeline = guided_pipeline(networks, scheduler, guided=guided)
        pipeline(
            **first_inputs(now),
            height=first.height,
            width=first.width,
            num_inference_steps=first.steps,
            guidance_scale=batch.scale(0.0),
            generator=generators,
            latents=noise,
            output_type="latent",
            callback_on_step_end=done,
        )
    notices.extend(session.observed())
    images = [session.finished(*each) for each in enumerate(pictures(pipeline, done.last))]
    return sampled_of(batch, session, images, done)


def latent_size(request: GenerationRequest) -> tuple[int, int]:
    """Height and width of a picture in latent pixels."""
    return request.height // LATENT_FACTOR, request.width // LATENT_FACTOR


def noises(batch: Batch, generators: Sequence[Any], steps: Trajectory | None) -> Tensor:
    """The initial noise of every picture, [B, 4, h, w]."""
    starts = batch.starts()
    own = [generators[start:end] for start, end in pairwise(starts)]
    pairs = zip(batch.requests, own, strict=True)
    return torch.cat([first_noise(request, drawn, steps) for request, drawn in pairs])


def sampled_of(
    batch: Batch, session: ControlSession, images: Sequence[Image.Image], done: StepsDone
) -> Sampled:
    """The outcome, request by request."""
    starts = batch.starts()
    many = bool(session.variants)
    return Sampled(
        images=tuple(tuple(images[a:b]) for a, b in pairwise(starts)),
        plans=tuple(session.plan_for(done.calls, False, a if many else None) for a in starts[:-1]),
        latents=done.last,
        rows_computed=session.rows_computed,
        rows_asked=session.rows_asked,
    )
