"""How long a training takes: the time of single passes, which are tried, times how many of them there are.

Counted is a training from its beginning to its last step. One that goes on, finds encoded pictures in its
cache or stops early takes less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_check import TrainingTimes

from .dataset.backgrounds import variants
from .dataset.checks import Pictures
from .dataset.encoded import ViewEncoder
from .dataset.views import View
from .loop import Loop
from .previews import make_previews, preview_requests
from .prior import needs_pictures
from .validation import LEVELS, view_loss

TRIALS = 2  # times that a pass is measured, after one that is not
SAMPLED = 3  # sampler steps of the picture that tells how long each of them takes


@dataclass(frozen=True, kw_only=True)
class PassSeconds:
    """The seconds of single passes on this machine.

    step          an optimiser step with all its passes
    first_step    a picture of one sampler step, with its prompt and the VAE
    sampler_step  each further sampler step of a picture
    loss          the loss of one view, without gradients
    latent        a picture read and encoded by the VAE
    reference     a picture read and encoded as a reference picture
    """

    step: float
    first_step: float
    sampler_step: float
    loss: float
    latent: float
    reference: float

    def picture(self, steps: int) -> float:
        """The seconds of a picture of `steps` sampler steps."""
        return self.first_step + (steps - 1) * self.sampler_step


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How many passes a training has.

    prior        pictures that the base model makes
    latents      pictures that the VAE encodes: each with every background and mirrored
    references   the same for reference pictures; 0 for a method without them
    validations  with the one before the first step
    previews     of one validation
    losses       of one validation: the held-out views at all noise levels
    """

    prior: int
    latents: int
    references: int
    steps: int
    validations: int
    previews: int
    losses: int


def passes_of(spec: TrainingSpec, pictures: Pictures, *, referenced: bool) -> Passes:
    """Count the passes of a training; `referenced` is whether its method encodes reference pictures."""
    prior = spec.prior_count if needs_pictures(spec) else 0
    views = (*pictures.training, *pictures.held_out, *pictures.prior)
    mirrored = 2 if spec.flip else 1
    versions = mirrored * (prior + sum(variants(spec.background, masked=view.masked) for view in views))
    every = spec.validate_every or spec.steps
    return Passes(
        prior=prior,
        latents=mirrored * (prior + len(views)) if referenced else versions,
        references=versions if referenced else 0,
        steps=spec.steps,
        validations=1 + -(-spec.steps // every),
        previews=len(preview_requests(spec, (*pictures.held_out, *pictures.training))),
        losses=LEVELS * len(pictures.held_out),
    )


def times_of(passes: Passes, seconds: PassSeconds, preview_steps: int) -> TrainingTimes:
    """The seconds of the parts of a training."""
    picture = seconds.picture(preview_steps)
    return TrainingTimes(
        prior=passes.prior * picture,
        encoding=passes.latents * seconds.latent + passes.references * seconds.reference,
        steps=passes.steps * seconds.step,
        validations=passes.validations * (passes.previews * picture + passes.losses * seconds.loss),
    )


def pass_seconds(loop: Loop, encoder: ViewEncoder, engine: Engine, views: Sequence[View]) -> PassSeconds:
    """Try the passes of a training; nothing is learned from them, and nothing is kept."""
    spec, batches = loop.spec, loop.sources[0][0]
    request = preview_requests(spec, views)[0]
    with loop.method.engaged():
        step = quickest(loop.trial, TRIALS) * spec.accumulation
        loss = quickest(lambda: view_loss(loop, batches, 0, 0), TRIALS)
        with loop.method.paused():
            networks = loop.method.shown()
            one, more = ([replace(request, steps=steps)] for steps in (1, SAMPLED))
            first = quickest(lambda: make_previews(engine, networks, one), TRIALS)
            longer = quickest(lambda: make_previews(engine, networks, more), 1)
    return PassSeconds(
        step=step,
        first_step=first,
        sampler_step=max((longer - first) / (SAMPLED - 1), 0.0),
        loss=loss,
        latent=quickest(lambda: encoder.try_latent(views[0]), 1),
        reference=quickest(lambda: encoder.try_reference(views[0]), 1),
    )


def quickest(run: Callable[[], object], trials: int) -> float:
    """The seconds of the quickest of `trials` runs, after one that prepares what the others find."""
    run()
    found = []
    for _ in range(trials):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)
