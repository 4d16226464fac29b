"""What every program in this folder shares: flags, paired timing, a table, limits, JSON.

from _harness import Result, at_most, effort, finish, paired, parser

options = parser("what it measures").parse_args()
timing = paired(with_session, without_session, pairs=effort(options, smoke=1, quick=5, full=25))
result = Result("overhead", {"ratio": timing.ratio}, {"ratio": at_most(1.03)}, {"ratio": timing.error})
sys.exit(finish(result, options))
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

# How far beyond its limit a figure must be, in standard errors, before the limit counts as missed.
CLEARLY = 2.0


@dataclass(frozen=True)
class Limit:
    """A bound on a figure; `kind` is "at_most" or "at_least"."""

    kind: str
    bound: float

    def holds(self, figure: float, error: float = 0.0) -> bool:
        """Whether the figure keeps the limit to within its uncertainty `error`; a NaN never does."""
        if self.kind == "at_most":
            return figure - error <= self.bound
        return figure + error >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.kind == 'at_most' else '>='} {self.bound:g}"


def at_most(bound: float) -> Limit:
    """The figure may not be larger than `bound`."""
    return Limit("at_most", bound)


def at_least(bound: float) -> Limit:
    """The figure may not be smaller than `bound`."""
    return Limit("at_least", bound)


@dataclass(frozen=True)
class Result:
    """What a program measured.

    A limit names one of the figures (KeyError otherwise). `errors` holds the standard errors of
    figures that have one: such a figure misses its limit only where it is beyond it by more than
    two of them.
    """

    name: str
    figures: Mapping[str, float]
    limits: Mapping[str, Limit]
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every limit holds."""
        held = {name: self._holds(name) for name in self.limits}
        return all(held.values())

    def _holds(self, name: str) -> bool:
        error = self.errors.get(name, 0.0)
        return self.limits[name].holds(self.figures[name], CLEARLY * error if math.isfinite(error) else 0.0)

    def table(self) -> str:
        """One line a figure: its name, its value, its limit and whether that holds."""
        width = max(map(len, self.figures), default=0)
        lines = [self._line(name, width) for name in self.figures]
        return "\n".join([self.name, *lines])

    def _line(self, name: str, width: int) -> str:
        error = f"+- {self.errors[name]:.2g}" if name in self.errors else ""
        line = f"  {name:<{width}}  {self.figures[name]:>10.4g} {error:<10}"
        limit = self.limits.get(name)
        if limit is None:
            return line.rstrip()
        return f"{line}  {limit!s:<10}  {'ok' if self._holds(name) else 'MISSED'}"

    def json(self) -> str:
        """The object that `--json` prints, on one line; NaN and infinities become null."""
        limits = {name: {limit.kind: limit.bound} for name, limit in self.limits.items()}
        found = {"figures": finite(self.figures), "errors": finite(self.errors), "limits": limits}
        return json.dumps({"name": self.name, **found, "ok": self.ok}, allow_nan=False)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values with None, JSON's null, in the place of NaN and infinities."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the flags that every program takes."""
    found = argparse.ArgumentParser(description=description)
    size = found.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute on two cores")
    size.add_argument(
        "--smoke", action="store_true", help="a few seconds: whether it starts and ends; no limit is judged"
    )
    found.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return found


def effort(options: argparse.Namespace, *, smoke: T, quick: T, full: T) -> T:
    """One of three values, as the flags ask for."""
    if options.smoke:
        return smoke
    return quick if options.quick else full


def finish(result: Result, options: argparse.Namespace) -> int:
    """Print the table, and the JSON if asked for.

    Returns the exit code: 1 for a missed limit, but 0 with `--smoke`, which measures nothing.
    """
    print(result.table())
    if options.json:
        print(result.json())
    return 0 if result.ok or options.smoke else 1


@dataclass(frozen=True)
class Paired:
    """The ratios time(a) / time(b) of interleaved pairs: median and spread."""

    ratios: tuple[float, ...]
    seconds_a: float
    seconds_b: float

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> float:
        """The distance between the quartiles of the ratios; 0 for a single pair."""
        if len(self.ratios) == 1:
            return 0.0
        first, _, third = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return third - first

    @property
    def error(self) -> float:
        """The standard error of the median ratio, as if the ratios were normally distributed."""
        return 0.93 * self.spread / math.sqrt(len(self.ratios))

    def __str__(self) -> str:
        return f"{self.ratio:.4f} +- {self.error:.4f} over {len(self.ratios)} pairs"


def paired(
    a: Callable[[], object],
    b: Callable[[], object],
    pairs: int,
    *,
    error: float = math.inf,
    budget: float = 0.0,
) -> Paired:
    """Time `a` against `b` in pairs that swap their order every time.

    Neighbours in time see the same machine, so the ratio of a pair is free of slow drift,
    and swapping takes out what the first of two pays for. Both run once beforehand.
    There are more than `pairs` pairs while the median's standard error is above `error` and
    they have taken less than `budget` seconds.
    """
    a()
    b()
    start = time.perf_counter()
    times = [_pair(a, b, swap=bool(index % 2)) for index in range(pairs)]
    while _summary(times).error > error and time.perf_counter() - start < budget:
        times.append(_pair(a, b, swap=bool(len(times) % 2)))
    return _summary(times)


def _summary(times: Sequence[tuple[float, float]]) -> Paired:
    return Paired(
        tuple(time_a / time_b for time_a, time_b in times),
        statistics.median(time_a for time_a, _ in times),
        statistics.median(time_b for _, time_b in times),
    )


def _pair(a: Callable[[], object], b: Callable[[], object], *, swap: bool) -> tuple[float, float]:
    if swap:
        time_b = seconds(b)
        return seconds(a), time_b
    return seconds(a), seconds(b)


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
