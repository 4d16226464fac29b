"""Samples a batch of requests: text conditions, first noise, the units' session, and the decoded pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from PIL import Image
from torch import Generator, Tensor

from lib_ctrlgen.blending.masks import combination_of
from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.headless.checkpoints.load import Networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.plan import StepPlan
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.session.blank_maps import note_blanks
from lib_ctrlgen.session.initial_noise import changed_noise
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.clocks import RowQueue
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

from .batch import EncodedBatch, PromptBatch
from .conditions import trajectory_of
from .decode import pictures
from .guidance import GuidedUNet
from .loras import NO_LORAS, PromptLoras
from .noise import first_noise, generators_of, seeds_of
from .prompt_encoder import PromptEncoder
from .samplers import SamplerInputs, needs_guidance, sampled, scale_divisor

Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SamplingResult:
    """The result of sampling a batch.

    images, plans: of each request, its pictures and its plan; latents: the clean latents [B, 4, h, w] of all
    pictures. `rows_computed` of `rows_asked` rows went through the U-Net; the others equalled one of them.
    """

    images: tuple[tuple[Image.Image, ...], ...]
    plans: tuple[StepPlan, ...]
    latents: Tensor
    rows_computed: int
    rows_asked: int


def sample_batch(
    batch: PromptBatch,
    networks: Networks,
    units: Sequence[ActiveUnit],
    encoder: PromptEncoder,
    progress: Progress | None = None,
    notices: Notices | None = None,
    loras: PromptLoras = NO_LORAS,
) -> SamplingResult:
    """Make the pictures of a batch; those of a trajectory once more for each round of its blend.

    After each round but the last, a trajectory's pictures are moved, so that neighbours differ by equal
    amounts. `progress(done, total)` is called after every U-Net call; `notices` collects warnings.
    """
    trajectory, blend = trajectory_of(batch.shared), batch.shared.blend
    runs = 1 + (blend.rounds if blend else 0)
    for number in range(runs):
        part = part_progress(progress, number, runs)
        made = sample_once(batch, networks, units, encoder, trajectory, part, notices, loras)
        if trajectory is not None and number + 1 < runs:
            trajectory = trajectory.respaced(made.latents)
            batch = batch.along(trajectory)
    return made


def part_progress(progress: Progress | None, number: int, count: int) -> Progress | None:
    """A callback for part `number` of `count` equal ones, which reports the progress of the whole."""
    if progress is None:
        return None
    return lambda done, calls: progress(number * calls + done, count * calls)


def sample_once(
    batch: PromptBatch,
    networks: Networks,
    units: Sequence[ActiveUnit],
    encoder: PromptEncoder,
    trajectory: Trajectory | None = None,
    progress: Progress | None = None,
    notices: Notices | None = None,
    loras: PromptLoras = NO_LORAS,
) -> SamplingResult:
    """Sample with the units and LoRAs on the U-Net, which is left as it was.

    `units` are the first request's.
    """
    notices = notices or Notices()
    guided = guided_unet(batch, networks, EncodedBatch(batch, encoder, loras), trajectory, progress)
    run = sampler_inputs(batch, guided)
    variants = batch.variants(units)
    noise = first_noises(batch, run.generators, trajectory)
    noise = changed_noise(noise, units, variants).to(networks.unet.device)
    session = ControlSession(DiffusersUNet(networks.unet), units, guided.queue, variants)
    notices.extend(session.expected({False: guided.total}))
    note_blanks(units, latent_size(batch.shared), LATENT_FACTOR, notices)
    with session, loras.on_unet(networks) as hooks:
        guided.before = lambda now: hooks.set(loras.unet_weights(now))
        latents = sampled(run, noise)
    notices.extend(session.observed())
    if progress is not None and guided.step < guided.total:
        progress(guided.total, guided.total)
    images = [session.finished(*each) for each in enumerate(pictures(networks.vae, latents))]
    return result(batch, session, images, latents, guided.total)


def guided_unet(
    batch: PromptBatch,
    networks: Networks,
    encoded: EncodedBatch,
    trajectory: Trajectory | None,
    progress: Progress | None,
) -> GuidedUNet:
    """The U-Net that a sampler calls for a batch."""
    shared = batch.shared
    blend, sampler = shared.blend, shared.sampling.sampler
    total = SAMPLERS[sampler].total_steps(shared.steps)

    def crossfed(latents: Tensor, now: float) -> Tensor:
        return trajectory.crossfed(latents, blend.crossfeed(now)) if trajectory and blend else latents

    def after(step: int) -> None:
        if progress is not None:
            progress(min(step, total), total)

    return GuidedUNet(
        networks=networks,
        batch=encoded,
        combination=combination_of(blend, shared.width, shared.height),
        queue=RowQueue(),
        total=total,
        size=(shared.height, shared.width),
        guided=batch.is_guided or not encoded.conditions(0.0).plain or needs_guidance(sampler),
        scale_divisor=scale_divisor(sampler),
        crossfed=None if trajectory is None else crossfed,
        after=after,
    )


def sampler_inputs(batch: PromptBatch, unet: GuidedUNet) -> SamplerInputs:
    """The inputs of the sampler for a batch."""
    noise = unet.networks.noise
    seeds = [seed for request in batch.requests for seed in seeds_of(request)]
    return SamplerInputs(
        choice=batch.shared.sampling,
        steps=batch.shared.steps,
        unet=unet,
        alphas_cumprod=alphas_cumprod_of(noise),
        velocity=noise["prediction_type"] == "v_prediction",
        seeds=seeds,
        generators=generators_of(seeds),
    )


def latent_size(request: GenerationRequest) -> tuple[int, int]:
    """Height and width of a request's pictures in latent pixels."""
    return request.height // LATENT_FACTOR, request.width // LATENT_FACTOR


def first_noises(
    batch: PromptBatch, generators: Sequence[Generator], trajectory: Trajectory | None
) -> Tensor:
    """The initial noise of every picture, [B, 4, h, w]."""
    pairs = zip(batch.requests, batch.per_request(generators), strict=True)
    return torch.cat([first_noise(request, own, trajectory) for request, own in pairs])


def result(
    batch: PromptBatch, session: ControlSession, images: Sequence[Image.Image], latents: Tensor, total: int
) -> SamplingResult:
    """The pictures and plans, grouped by request."""
    many = bool(session.variants)
    return SamplingResult(
        images=tuple(map(tuple, batch.per_request(images))),
        plans=tuple(session.plan_for(total, False, start if many else None) for start in batch.starts),
        latents=latents,
        rows_computed=session.rows_computed,
        rows_asked=session.rows_asked,
    )
