"""The optimisation of a training: one step after the other, each a function of the state before and the seed.

Batches and noise do not depend on a random state that goes along, so that a training which is continued from
a checkpoint gives the weights of one that was never interrupted.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.training import TrainingSpec

from .average import Average
from .dataset.batches import Batches
from .methods.base import Base, TrainingMethod
from .objective import Objective
from .precision import scaler_of

RATES = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


class Loop:
    """Trains a method on the batches of `own`, and on those of `prior` with the weight `spec.prior`.

    `step` is called while the method is engaged. `done` is the number of steps that are done.
    """

    def __init__(
        self, spec: TrainingSpec, method: TrainingMethod, base: Base, own: Batches, prior: Batches | None
    ) -> None:
        self.spec, self.method, self.base = spec, method, base
        self.sources = [(own, 1.0)] + ([(prior, spec.prior)] if prior is not None else [])
        self.objective = Objective.of(base.networks.noise, spec.min_snr, base.device)
        self.parameters: list[nn.Parameter] = [each for group in method.groups() for each in group["params"]]
        self.optimiser = torch.optim.AdamW(method.groups(), lr=spec.lr, weight_decay=spec.weight_decay)
        self.rates = get_scheduler(
            RATES[spec.lr_schedule],
            self.optimiser,
            num_warmup_steps=spec.warmup,
            num_training_steps=spec.steps,
        )
        self.average = Average(self.parameters, spec.ema)
        self.scaler = scaler_of(base.dtype, base.device)
        self.done = 0

    def step(self) -> float:
        """One optimiser step; returns the loss. Raises HostError where it is no number any more."""
        self.optimiser.zero_grad(set_to_none=True)
        losses = [
            self._pass(batches, number, weight / self.spec.accumulation)
            for number in range(self.spec.accumulation)
            for batches, weight in self.sources
        ]
        loss = float(torch.stack(losses).sum())
        if not math.isfinite(loss):
            raise HostError(
                f"the loss is {loss} at step {self.done + 1}: take a smaller learning rate (lr), "
                "or another precision"
            )
        self._update()
        self.done += 1
        return loss

    def trial(self) -> None:
        """The passes of a step without accumulation, from which nothing is learned."""
        for batches, weight in self.sources:
            self._pass(batches, 0, weight)
        self.optimiser.zero_grad(set_to_none=True)
        if self.base.device.type == "cuda":
            torch.cuda.synchronize(self.base.device)

    def _pass(self, batches: Batches, number: int, weight: float) -> Tensor:
        """Add the gradients of one batch; returns its weighted loss."""
        batch = batches.draw(self.done, number).to(self.base.device)
        drawn = self.objective.noised(
            batch.latents, generator_of(self.spec.seed, self.done, number, int(batches.prior))
        )
        with self.autocast():
            loss = self.objective.loss(self.method, batch, drawn) * weight
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _update(self) -> None:
        self.scaler.unscale_(self.optimiser)
        if self.spec.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.spec.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.rates.step()
        self.average.update(self.done)

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the training's number format in a `with` block."""
        half = self.base.dtype != torch.float32
        return torch.autocast(
            self.base.device.type, self.base.dtype if half else torch.bfloat16, enabled=half
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.done,
            "weights": self.method.module().state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rates": self.rates.state_dict(),
            "average": self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.done = int(state["step"])
        self.method.module().load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rates.load_state_dict(state["rates"])
        self.average.load_state_dict(state["average"])
        self.scaler.load_state_dict(state["scaler"])


def generator_of(*key: int) -> torch.Generator:
    """A generator of the CPU with a seed from some numbers."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) >> 1)
