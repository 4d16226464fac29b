"""The training loop of all stages: warm-up, cosine decay, gradient clipping, EMA, checkpoints, resume.

Batches and noise are functions of (seed, step), so that a resumed run gets the same ones as an uninterrupted
run. With several workers (workers.py) each draws its own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib_ctrlgen.train.tiny import workers

from .muon import Muon

log = logging.getLogger("ctrlgen.train")

Batch = dict[str, Tensor]

MUON_SIDE = 48  # narrower matrices are optimised by AdamW


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The length and the learning rates of a stage.

    `batch` is the batch size of one worker. `muon` is the learning rate of Muon for large matrices; with
    zero, AdamW optimises all matrices.
    """

    steps: int
    batch: int
    lr: float
    muon: float = 0.0
    seed: int = 0
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    clip: float = 1.0
    final_lr: float = 0.02
    bf16: bool = True
    save_every: float = 240.0  # seconds
    log_every: int = 25


@dataclass(frozen=True, kw_only=True)
class Job:
    """A stage of the training: a module, its batches and its loss.

    `batch(rng)` draws a batch, `loss(batch, generator)` returns a scalar, `preview(path)` saves pictures that
    were made with the averaged weights.
    """

    name: str
    module: nn.Module
    batch: Callable[[np.random.Generator], Batch]
    loss: Callable[[Batch, torch.Generator], Tensor]
    settings: Settings
    preview: Callable[[Path], None] | None = None


class Average:
    """Exponential moving average of a module's trained parameters, with a warm start."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.live: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.shadow = [p.detach().clone() for p in self.live]
        self.decay = decay

    def update(self, step: int) -> None:
        """Move the average towards the live weights; faster during the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.live], 1 - decay)

    def swap(self) -> None:
        """Exchange the live weights and the average; a second call undoes it."""
        with torch.no_grad():
            for live, shadow in zip(self.live, self.shadow, strict=True):
                held = live.detach().clone()
                live.copy_(shadow)
                shadow.copy_(held)


def fit(job: Job, out: Path) -> None:
    """Train `job.module` in place; it ends with the averaged weights.

    Resumes from the stage's checkpoint in `out`; a finished stage is only loaded.
    """
    config = job.settings
    params = [p for p in job.module.parameters() if p.requires_grad]
    optimisers = _optimisers(job.module, config)
    average = Average(job.module, config.ema)
    path = out / f"{job.name}.ckpt"
    start = _resume(path, optimisers, average)
    if start >= config.steps:
        average.swap()
        return
    saved, losses = time.monotonic(), [0.0]
    for step, batch in _batches(job, start):
        _set_rates(optimisers, _rate(step, config))
        losses.append(_step(job, batch, step, params, optimisers))
        average.update(step)
        if (step + 1) % config.log_every == 0:
            log.info("%s step %d loss %.5f", job.name, step + 1, np.mean(losses[-config.log_every :]))
        if workers.rank() == 0 and time.monotonic() - saved > config.save_every:
            _save(path, step + 1, optimisers, average)
            saved = time.monotonic()
    if workers.rank() == 0:
        _save(path, config.steps, optimisers, average)
    average.swap()
    if job.preview is not None and workers.rank() == 0:
        job.preview(out / f"{job.name}.png")


def _step(
    job: Job, batch: Batch, step: int, params: list[nn.Parameter], optimisers: list[torch.optim.Optimizer]
) -> float:
    generator = torch.Generator().manual_seed(job.settings.seed * 1_000_003 + step + 500_009 * workers.rank())
    with torch.autocast("cpu", torch.bfloat16, enabled=job.settings.bf16):
        loss = job.loss(batch, generator)
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    workers.average_gradients(params)
    norm = nn.utils.clip_grad_norm_(params, job.settings.clip)
    if torch.isfinite(norm):
        for optimiser in optimisers:
            optimiser.step()
    return float(loss.detach())


def _batches(job: Job, start: int) -> Iterator[tuple[int, Batch]]:
    """The batches from step `start` on; a thread draws the next one meanwhile."""

    def draw(step: int) -> Batch:
        rank = workers.rank()
        return job.batch(np.random.default_rng((job.settings.seed, step, *([rank] if rank else []))))

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw, start)
        for step in range(start, job.settings.steps):
            batch = coming.result()
            coming = pool.submit(draw, step + 1)
            yield step, batch


def _rate(step: int, config: Settings) -> float:
    """Linear warm-up, then a cosine from 1 to `final_lr`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def _set_rates(optimisers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * optimiser.defaults["lr"]


def _optimisers(module: nn.Module, config: Settings) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for large matrices if it has a learning rate.

    Weight decay applies to matrices and convolution kernels, not to embeddings, norms or biases.
    """
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and id(p) not in tables]
    large = [p for p in matrices if config.muon and min(len(p), p[0].numel()) >= MUON_SIDE]
    done = {id(p) for p in large}
    groups = [
        {"params": [p for p in matrices if id(p) not in done], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2 or id(p) in tables], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), foreach=True)
    return [adam, Muon(large, lr=config.muon, decay=config.weight_decay)] if large else [adam]


def _save(path: Path, step: int, optimisers: list[torch.optim.Optimizer], average: Average) -> None:
    state = {
        "step": step,
        "weights": [p.detach() for p in average.live],
        "average": average.shadow,
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, optimisers: list[torch.optim.Optimizer], average: Average) -> int:
    """Load the checkpoint if it exists; returns the step to continue with."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        torch._foreach_copy_(average.live, state["weights"])
        torch._foreach_copy_(average.shadow, state["average"])
    for optimiser, held in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(held)
    log.info("resuming %s at step %d", path.stem, state["step"])
    return int(state["step"])
