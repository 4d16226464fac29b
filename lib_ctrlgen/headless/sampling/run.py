"""One run of a sampler under everything that a request says, or that many alike say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.blending.masks import combination_of
from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.controls.unit import ActiveUnit, unit_variants
from lib_ctrlgen.headless.checkpoints.load import Networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.plan import StepPlan
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import ControlUnit, GenerationRequest
from lib_ctrlgen.session.blank_maps import note_blanks
from lib_ctrlgen.session.effects.start import started
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.clocks import RowQueue
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

from .conditions import Conditions, Prompts, joined, prompts_of, trajectory_of
from .decode import pictures
from .guidance import GuidedUNet
from .noise import first_noise, generators_of, seeds_of
from .prompt_encoder import PromptEncoder
from .samplers import Run, needs_guidance, sampled, scale_divisor

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
        made = sample(requests, networks, units, encoder, steps, told, notices)
        if steps is not None and number + 1 < runs:
            steps = steps.respaced(made.latents)
    return made


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

    def scales(self, progress: float) -> list[float]:
        """The guidance scale of each picture."""
        return [each.cfg_scale(progress) for each in self.requests for _ in range(each.batch_size)]

    @property
    def guided(self) -> bool:
        """Whether any picture's guidance ever leaves 1."""
        return any(each.cfg_scale.bounds[1] > 1 for each in self.requests)

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
class EncodedBatch:
    """What a batch says of each step; texts are encoded when they change."""

    batch: Batch
    encoder: PromptEncoder
    _held: tuple[object, Conditions] | None = None

    def scales(self, progress: float) -> list[float]:
        """The guidance scale of each picture."""
        return self.batch.scales(progress)

    def conditions(self, progress: float) -> Conditions:
        """What the U-Net is told at `progress`."""
        key = [each.key(progress) for each in self.batch.prompts]
        if self._held is None or self._held[0] != key:
            self._held = key, joined([each.at(progress, self.encoder) for each in self.batch.prompts])
        return self._held[1]


def sample(
    requests: Requests,
    networks: Networks,
    units: Sequence[ActiveUnit],
    encoder: PromptEncoder,
    steps: Trajectory | None = None,
    progress: Progress | None = None,
    notices: Notices | None = None,
) -> Sampled:
    """Sample under the units' control. The U-Net is left as it was.

    Requests are alike (`lib_ctrlgen.request.batching`). `units` are those of the first one.
    """
    notices = notices or Notices()
    batch = Batch(requests=tuple(requests), prompts=tuple(prompts_of(each, steps) for each in requests))
    guided = guided_unet(batch, networks, EncodedBatch(batch, encoder), steps, progress)
    run = run_of(batch, guided)
    variants = batch.variants(units)
    noise = started(noises(batch, run.generators, steps), units, variants).to(networks.unet.device)
    session = ControlSession(DiffusersUNet(networks.unet), units, guided.queue, variants)
    notices.extend(session.expected({False: guided.total}))
    note_blanks(units, latent_size(requests[0]), LATENT_FACTOR, notices)
    with session:
        latents = sampled(run, noise)
    notices.extend(session.observed())
    if progress is not None and guided.step < guided.total:
        progress(guided.total, guided.total)
    images = [session.finished(*each) for each in enumerate(pictures(networks.vae, latents))]
    return sampled_of(batch, session, images, latents, guided.total)


def guided_unet(
    batch: Batch,
    networks: Networks,
    told: EncodedBatch,
    steps: Trajectory | None,
    progress: Progress | None,
) -> GuidedUNet:
    """The U-Net that a sampler calls for a batch."""
    first = batch.requests[0]
    blend, sampler = first.blend, first.sampling.sampler
    total = SAMPLERS[sampler].total_steps(first.steps)

    def crossfed(latents: Tensor, place: float) -> Tensor:
        return steps.crossfed(latents, blend.crossfeed(place)) if steps and blend else latents

    def done(step: int) -> None:
        if progress is not None:
            progress(min(step, total), total)

    return GuidedUNet(
        networks=networks,
        told=told,
        combination=combination_of(blend, first.width, first.height),
        queue=RowQueue(),
        total=total,
        size=(first.height, first.width),
        guided=batch.guided or not told.conditions(0.0).plain or needs_guidance(sampler),
        scale_divisor=scale_divisor(sampler),
        crossfed=None if steps is None else crossfed,
        after=done,
    )


def run_of(batch: Batch, unet: GuidedUNet) -> Run:
    """What the sampler of a batch needs."""
    first, noise = batch.requests[0], unet.networks.noise
    seeds = [seed for request in batch.requests for seed in seeds_of(request)]
    return Run(
        choice=first.sampling,
        steps=first.steps,
        unet=unet,
        alphas_cumprod=alphas_cumprod_of(noise),
        velocity=noise["prediction_type"] == "v_prediction",
        seeds=seeds,
        generators=generators_of(seeds),
    )


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
    batch: Batch, session: ControlSession, images: Sequence[Image.Image], latents: Tensor, total: int
) -> Sampled:
    """The outcome, request by request."""
    starts = batch.starts()
    many = bool(session.variants)
    return Sampled(
        images=tuple(tuple(images[a:b]) for a, b in pairwise(starts)),
        plans=tuple(session.plan_for(total, False, a if many else None) for a in starts[:-1]),
        latents=latents,
        rows_computed=session.rows_computed,
        rows_asked=session.rows_asked,
    )
