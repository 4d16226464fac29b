"""Does a training of an IP-Adapter pay? A ball with stripes that the tiny model never saw, 12 views.

Likeness: how like the ball's held-out views are pictures made before and after. Backgrounds: do they show
the prompt's colour. Others: do references of other things act as before. Step: the time of the loop's step
against the same forward and backward passes by hand. Memory: how much the resident memory grows.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _ball import Ball, Judge
from _harness import Paired, Result, at_least, at_most, effort, finish, paired, parser
from torch import Tensor, nn

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.loop import Loop, generator_of
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from lib_ctrlgen.train.prepare import Prepared, prepare
from lib_ctrlgen.train.run import train

LIMITS = {
    "step": at_most(1.1),
    "likeness_gain": at_least(0.15),
    "pattern_gain": at_least(0.2),
    "backgrounds_gain": at_least(-0.05),
    "others_gain": at_least(-0.03),
}
TRAINING: dict[str, Any] = {"steps": 400, "lr": 2e-3, "rank": 8, "batch": 4, "warmup": 20}


@dataclass(frozen=True, kw_only=True, eq=False)
class ByHand:
    """The passes of a step on batches and noise that are drawn beforehand, with a U-Net for each adapter."""

    method: IPAdapterMethod
    own: tuple[Batch, Any]
    others: tuple[Batch, Any]
    taught: Any
    optimiser: torch.optim.Optimizer

    @classmethod
    def of(cls, loop: Loop, method: IPAdapterMethod) -> ByHand:
        """For an engaged method: its U-Net is the pupil, a copy of it the teacher."""
        drawn = []
        for batches, _ in loop.sources:
            batch = batches.draw(0, 0)
            drawn.append((batch, loop.objective.noised(batch.latents, generator_of(0))))
        taught = deepcopy(method.base.networks.unet)
        with torch.no_grad():
            names = [name for name in taught.attn_processors if ".attn2." in name]
            processors = dict(zip(names, method.teacher.layers, strict=True))
            taught.set_attn_processor({**taught.attn_processors, **processors})
        optimiser = torch.optim.AdamW(loop.parameters, lr=1e-4)
        return cls(method=method, own=drawn[0], others=drawn[1], taught=taught, optimiser=optimiser)

    def step(self) -> None:
        """One step of the optimiser."""
        self.optimiser.zero_grad(set_to_none=True)
        batch, noise = self.own
        torch.autograd.backward(self._loss(batch, noise, noise.noise))
        batch, noise = self.others
        with torch.no_grad():
            target = self._called(self.taught, self.method.teacher.head, batch, noise)
        torch.autograd.backward(self._loss(batch, noise, target))
        nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], 1.0)
        self.optimiser.step()

    def _loss(self, batch: Batch, noise: Any, target: Tensor) -> Tensor:
        made = self._called(self.method.base.networks.unet, self.method.adapter.head, batch, noise)
        return (made - target).square().mean()

    @staticmethod
    def _called(unet: Any, head: Any, batch: Batch, noise: Any) -> Tensor:
        assert batch.text is not None
        found: Tensor = unet(
            noise.noisy, noise.timesteps, (batch.text.states, [head(batch.references)])
        ).sample
        return found


def step_time(prepared: Prepared, pairs: int) -> Paired:
    """The time of a step of the loop and of one by hand."""
    method = prepared.method
    assert isinstance(method, IPAdapterMethod)
    loop, _ = prepared.loop()
    with method.engaged():
        by_hand = ByHand.of(loop, method)
        return paired(loop.step, by_hand.step, pairs, error=0.01, budget=120.0)


def grown(seed: int, folder: Path, engine: Engine, options: argparse.Namespace) -> dict[str, float]:
    """The scores of a ball before and after its training."""
    ball, judge = (
        ball_of(seed, options),
        Judge(engine=engine, **effort(options, smoke=SMOKE, quick={}, full={})),
    )
    before = judge.scores(ball, f"{NAME}-ip")
    spec = ball.training(
        folder, **TRAINING | {"part": options.part} | ({"steps": 2} if options.smoke else {})
    )
    done = train(spec, engine)
    after = judge.scores(ball, str(done.out.resolve()))
    rows = {"before": before, "after": after, "views": judge.ceiling(ball)}
    found = {f"{name}_{when}": value for when, scores in rows.items() for name, value in scores.items()}
    found |= {f"{name}_gain": after[name] - before[name] for name in before}
    return found | {"minutes": done.seconds / 60}


SMOKE = {"steps": 1, "repeats": 1, "scenes": 1}


def ball_of(seed: int, options: argparse.Namespace) -> Ball:
    """The ball of a seed, with few other pictures where nothing is measured."""
    return Ball(seed=seed, **effort(options, smoke={"others": 4}, quick={}, full={}))


def summary(rows: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """The means over the balls, and the standard errors of these."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    means = {name: float(values.mean()) for name, values in columns.items()}
    if len(rows) == 1:
        return means, {}
    return means, {name: float(values.std(ddof=1)) / len(rows) ** 0.5 for name, values in columns.items()}


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    tiny, place = tiny_folder(), Place.best(tiny_folder() / "text")
    seeds = effort(options, smoke=1, quick=0, full=options.seeds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = Engine([tiny, folder], 1 << 30, place)
        spec = ball_of(0, options).training(folder / "time", **TRAINING | {"part": options.part})
        prepared = prepare(spec, engine, folder / "time")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timing = step_time(prepared, effort(options, smoke=1, quick=8, full=40))
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        rows = [grown(seed, folder / str(seed), engine, options) for seed in range(seeds)]
        means, errors = summary(rows) if rows else ({}, {})
    figures = {"step": timing.ratio, "memory_mb": memory, "estimated_mb": prepared.cost.bytes / 1e6, **means}
    limits = {name: limit for name, limit in LIMITS.items() if name in figures}
    return finish(Result("train", figures, limits, {"step": timing.error, **errors}), options)


if __name__ == "__main__":
    flags = parser(__doc__ or "")
    flags.add_argument("--seeds", type=int, default=5)
    flags.add_argument("--part", default="low-rank", choices=("tokens", "low-rank", "whole"))
    sys.exit(main(flags.parse_args()))
