"""One run of diffusers' pipeline under everything that a request says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.clocks import CountingClock
from lib_ctrlgen.plan import StepPlan
from lib_ctrlgen.regions import combination_of
from lib_ctrlgen.session import ControlSession
from lib_ctrlgen.spec import GenerationRequest
from lib_ctrlgen.trajectory import Trajectory
from lib_ctrlgen.unet import DiffusersUNet
from lib_ctrlgen.units import ActiveUnit

from .conditions import Conditions, Prompts, prompts_of, trajectory_of
from .guided import guided_pipeline
from .load import Networks
from .noise import first_noise, generators_of, seeds_of
from .prompts import PromptEncoder
from .rows import PartRows
from .samplers import make_scheduler

Progress: TypeAlias = Callable[[int, int], None]


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


def told_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What run `number` of `count` tells, as part of the whole."""
    if progress is None:
        return None
    return lambda done, calls: progress(number * calls + done, count * calls)


@dataclass
class StepsDone:
    """Called by the pipeline after each step: guidance, conditions and latents of the next one."""

    request: GenerationRequest
    prompts: Prompts
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
        pipeline.guide(self.request.cfg_scale(place))
        if self.prompts.key(place) != self.prompts.key(step / self.calls):
            self.rows.now = self.prompts.at(place, self.encoder)
            values["prompt_embeds"] = pipeline_rows(self.rows.now, guided=self.guided)
        if self.steps is not None and self.request.blend is not None and step + 1 < self.calls:
            values["latents"] = self.steps.crossfed(values["latents"], self.request.blend.crossfeed(place))
        return values


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
    prompts, seeds = prompts_of(request, steps), seeds_of(request)
    scheduler = make_scheduler(request.sampler, request.steps, networks.noise, seeds)
    calls = len(scheduler.timesteps)
    encoder = PromptEncoder(tokenizer=networks.tokenizer, text_encoder=networks.text_encoder)
    now = prompts.at(0.0, encoder)
    guided = request.cfg_scale.bounds[1] > 1 or not now.plain
    combination = combination_of(request.blend, request.width, request.height)
    rows = PartRows(images=request.batch_size, combination=combination, now=now)
    done = StepsDone(request, prompts, encoder, rows, steps, calls, guided, progress)
    generators = generators_of(seeds)
    clock = CountingClock(calls, request.batch_size, guided=guided, owners=now.shares.owners)
    with ExitStack() as stack:
        if not now.plain:
            stack.enter_context(rows.installed(networks.unet))
        session = stack.enter_context(ControlSession(DiffusersUNet(networks.unet), units, clock))
        made = guided_pipeline(networks, scheduler, guided=guided)(
            prompt_embeds=pipeline_rows(now, guided=False),
            negative_prompt_embeds=now.uncond,
            height=request.height,
            width=request.width,
            num_inference_steps=request.steps,
            guidance_scale=request.cfg_scale(0.0),
            generator=generators,
            latents=first_noise(request, generators, steps).to(now.rows),
            callback_on_step_end=done,
            callback_on_step_end_tensor_inputs=["prompt_embeds", "latents"],
        )
        return list(made.images), session.plan_for(calls), done.last


def pipeline_rows(now: Conditions, *, guided: bool) -> Tensor:
    """The features that the pipeline holds: one conditional row per picture, the unconditional ones first."""
    cond = now.rows[:: len(now.shares.owners)]
    return torch.cat([now.uncond, cond]) if guided else cond
