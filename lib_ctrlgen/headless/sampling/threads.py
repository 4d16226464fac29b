"""Measures with how many CPU threads a U-Net runs fastest.

The threads of a U-Net call wait for each other at every layer. In a small network one thread can be the
fastest, and on a busy machine all threads wait for one that is not running. Therefore the U-Net itself is
timed for a moment with different numbers of threads, at the size that is about to be generated or a smaller
one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic, perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.unet.port import Hooks

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # with which users choose the number
FRESH = 60.0  # seconds for which a measurement holds: a machine's load changes
GAIN = 0.9  # another number of threads is chosen where it takes less than this share of the time
QUICK = 0.1  # seconds: faster calls are timed twice
# The time of a call grows with parameters x latent pixels x rows. Below SMALL, one thread is tried first,
# else last. Timed calls are reduced to at most MOST_OF_..., which is a few percent of a picture's time.
SMALL = 2e11
MOST_OF_SMALL, MOST_OF_LARGE = 4e10, 5e11

Clock = Callable[[], float]


class TooSlowError(Exception):
    """A timed call took longer than the fastest one so far."""


@dataclass
class Threads:
    """The number of threads for each kind of work: `fixed` for all, or measured where it is None.

    `limit` is the largest number that is tried, by default torch's own number of threads.
    """

    fixed: int | None = None
    limit: int | None = None
    now: Clock = monotonic
    last: int = 1
    _measured: dict[Hashable, tuple[float, int]] = field(default_factory=dict)

    @staticmethod
    def of(asked: int = 0, environment: Mapping[str, str] = os.environ) -> Threads:
        """The setting for a number that a user gave; 0 measures, unless an environment variable is set."""
        if asked:
            return Threads(fixed=asked)
        is_set = any(environment.get(name) for name in VARIABLES)
        return Threads(fixed=torch.get_num_threads() if is_set else None)

    @contextmanager
    def chosen(self, unet: Any, rows: int, height: int, width: int) -> Iterator[None]:
        """Run the block with the fastest number of threads for U-Net calls on `rows` latents of this size."""
        with self._restored():
            self.last = self._number(unet, rows, height, width)
            torch.set_num_threads(self.last)
            yield

    @contextmanager
    def as_last(self) -> Iterator[None]:
        """Run the block with the number of the last generation; before the first, with one thread.

        This is for work that needs no measurement: loading weights, and small networks such as those of
        scores.
        """
        with self._restored():
            torch.set_num_threads(self.last if self.fixed is None else self.fixed)
            yield

    @contextmanager
    def _restored(self) -> Iterator[None]:
        before = torch.get_num_threads()
        self.limit = self.limit or before
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _number(self, unet: Any, rows: int, height: int, width: int) -> int:
        limit: int = self.limit or 1
        if self.fixed is not None or limit == 1 or str(unet.device.type) != "cpu":
            return limit if self.fixed is None else self.fixed
        key = (id(unet), rows, height, width)
        when, number = self._measured.get(key, (-FRESH, limit))
        if self.now() - when >= FRESH:
            trial = Trial(unet, rows, height, width)
            number = best_of(trial.seconds, limit, from_one=trial.small)
            self._measured[key] = self.now(), number
        return number


def best_of(seconds: Callable[[int, float], float], limit: int, *, from_one: bool) -> int:
    """The fastest of 1, 2, 4, ... `limit` threads, tried upwards or downwards until a number is slower.

    `seconds(threads, most)` times a call and returns infinity where it takes more than `most` seconds.
    """
    doubled = (1 << power for power in range(limit.bit_length()))
    numbers = [*takewhile(lambda number: number < limit, doubled), limit]
    first, *others = numbers if from_one else reversed(numbers)
    best, taken = first, seconds(first, float("inf"))
    for number in others:
        found = seconds(number, taken * GAIN)
        if found > taken * GAIN:
            break
        best, taken = number, found
    return best


class Trial:
    """Times calls of a U-Net on zero latents, without controls."""

    def __init__(self, unet: Any, rows: int, height: int, width: int) -> None:
        self.unet = unet
        weights = sum(parameter.numel() for parameter in unet.parameters())
        self.small = weights * rows * height * width < SMALL
        most = MOST_OF_SMALL if self.small else MOST_OF_LARGE
        while weights * rows * height * width > most and (rows > 2 or min(height, width) > 8):
            if rows > 2:
                rows = max(2, rows // 2)
            else:
                height, width = (max(8, side // 2 // 8 * 8) for side in (height, width))
        self.shape = (rows, int(unet.config.in_channels), height, width)
        if self.small:
            torch.set_num_threads(1)
            self.call()  # a warm-up: the first call allocates memory that all others use

    def seconds(self, threads: int, most: float) -> float:
        """The seconds of a call with this number of threads; the faster of two where a call is quick."""
        torch.set_num_threads(threads)
        found = self._timed(most)
        return min(found, self._timed(most)) if found < QUICK else found

    def _timed(self, most: float) -> float:
        start = perf_counter()
        with suppress(TooSlowError), self.stopped(most):
            self.call()
            return perf_counter() - start
        return float("inf")

    @contextmanager
    def stopped(self, most: float) -> Iterator[None]:
        """Within the block the U-Net raises TooSlowError at the first layer after `most` seconds."""
        start = perf_counter()

        def check(_module: nn.Module, _inputs: object) -> None:
            if perf_counter() - start > most:
                raise TooSlowError

        with Hooks() as hooks:
            for module in self.unet.modules() if most < float("inf") else ():
                hooks.add(module.register_forward_pre_hook(check))
            yield

    def call(self) -> None:
        """Call the U-Net once."""
        rows, config = self.shape[0], self.unet.config
        width = config.cross_attention_dim
        width = width if isinstance(width, int) else width[0]
        more: dict[str, Any] = {}
        if getattr(config, "addition_embed_type", None) == "text_time":
            sizes = self._zeros(rows, 6)
            text = int(self.unet.add_embedding.linear_1.in_features) - 6 * int(config.addition_time_embed_dim)
            more["added_cond_kwargs"] = {"text_embeds": self._zeros(rows, text), "time_ids": sizes}
        with torch.no_grad():
            self.unet(self._zeros(*self.shape), 0, self._zeros(rows, 77, width), **more)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.unet.dtype, device=self.unet.device)
