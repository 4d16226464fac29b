"""One request's sampling with observers: hooks around the units' session, and every prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.batch import EncodedBatch, PromptBatch
from lib_ctrlgen.headless.sampling.decode import pictures
from lib_ctrlgen.headless.sampling.guidance import GuidedUNet, Prediction
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from lib_ctrlgen.headless.sampling.run import first_noises, guided_unet, sampler_inputs
from lib_ctrlgen.headless.sampling.samplers import sampled
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.session.initial_noise import changed_noise
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Position
from lib_ctrlgen.unet.clocks import Clock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.noise_level import NoiseSchedule
from lib_ctrlgen.unet.port import Hooks

Seen: TypeAlias = Callable[[int, Tensor, Tensor, Prediction], None]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A request that is ready to be sampled: its loaded networks, units and parsed prompts."""

    request: GenerationRequest
    networks: Networks
    batch: PromptBatch
    units: tuple[ActiveUnit, ...]
    encoder: PromptEncoder

    @property
    def noise(self) -> NoiseSchedule:
        """The checkpoint's noise schedule."""
        config = self.networks.noise
        velocity = config["prediction_type"] == "v_prediction"
        return NoiseSchedule(alphas_cumprod=alphas_cumprod_of(config), velocity=velocity)

    def decoded(self, latents: Tensor) -> list[Image.Image]:
        """The pictures of latents [B, 4, h, w]."""
        return pictures(self.networks.vae, latents)


@contextmanager
def prepared(engine: Engine, request: GenerationRequest) -> Iterator[Work]:
    """Load what a request needs, and keep it loaded while the block runs. Raises RequestError."""
    request = seeded(request)
    batch = PromptBatch.of([request])
    with engine.store.working_set():
        networks = engine.load(request.model)
        size = 2 * batch.pictures, request.height // 8, request.width // 8
        with engine.threads.chosen(networks.unet, *size):
            yield Work(
                request=request,
                networks=networks,
                batch=batch,
                units=engine.units(batch, networks),
                encoder=engine.encoder(networks),
            )


@dataclass
class SeenUNet(GuidedUNet):
    """A guided U-Net that reports every prediction.

    `seen` is called with the step, the latents [B, 4, h, w] as the U-Net gets them, the timesteps [B] and the
    prediction.
    """

    seen: Seen = field(default=lambda *_given: None)

    def __call__(self, x: Tensor, timestep: Tensor) -> Prediction:
        """Predict as `GuidedUNet` does, and report it."""
        step, found = self.step, super().__call__(x, timestep)
        self.seen(step, x, timestep, found)
        return found


@dataclass
class NotingClock:
    """A clock that remembers the position of the last call."""

    clock: Clock
    position: Position | None = None

    def __call__(self, batch: int) -> Position:
        """Return the position of the next call with `batch` rows."""
        self.position = self.clock(batch)
        return self.position

    @property
    def now(self) -> Position:
        """The position of the call that runs now. Raises RuntimeError before the first."""
        if self.position is None:
            raise RuntimeError("the U-Net was not called yet")
        return self.position


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What observers of a sampling get: the U-Net, the units, and the position of each call.

    `weight(unit, step)` is the planned weight of a unit at a step.
    """

    port: DiffusersUNet
    units: tuple[ActiveUnit, ...]
    clock: NotingClock
    total: int
    weight: Callable[[ActiveUnit, int], float]


class Observer:
    """Adds hooks to the U-Net before and after those of the units; all are removed when sampling ends."""

    def before(self, hooks: Hooks, bench: Bench) -> None:
        """Add hooks that see what the U-Net computes before the units add to it."""

    def after(self, hooks: Hooks, bench: Bench) -> None:
        """Add hooks that see what the units made of it."""

    def seen(self, step: int, x: Tensor, timestep: Tensor, found: Prediction) -> None:
        """Take note of a prediction, see `SeenUNet`."""


def observed(work: Work, observer: Observer) -> Tensor:
    """Sample a request without rounds of a trajectory; returns the clean latents [B, 4, h, w]."""
    plain = guided_unet(work.batch, work.networks, EncodedBatch(work.batch, work.encoder), None, None)
    given = {each.name: getattr(plain, each.name) for each in fields(plain)}
    unet = SeenUNet(**given, seen=observer.seen)
    inputs = sampler_inputs(work.batch, unet)
    noise = changed_noise(first_noises(work.batch, inputs.generators, None), work.units, [])
    port, clock = DiffusersUNet(work.networks.unet), NotingClock(unet.queue)
    session = ControlSession(port, work.units, clock)
    bench = bench_of(port, work.units, clock, unet.total, session)
    with Hooks() as first:
        observer.before(first, bench)
        with session, Hooks() as last, torch.no_grad():
            observer.after(last, bench)
            return sampled(inputs, noise.to(work.networks.unet.device))


def bench_of(
    port: DiffusersUNet,
    units: tuple[ActiveUnit, ...],
    clock: NotingClock,
    total: int,
    session: ControlSession,
) -> Bench:
    """What the observers of a session get."""

    def weight(unit: ActiveUnit, step: int) -> float:
        plan = session.plan_for(total)
        places = list(dict.fromkeys(each.index for each in units))
        return plan.weights[places.index(unit.index)][step]

    return Bench(port=port, units=units, clock=clock, total=total, weight=weight)
