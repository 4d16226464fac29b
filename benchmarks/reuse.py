"""What it costs, and what it saves, to compute a ControlNet at every k-th step only.

The bundled tiny model under its edge ControlNet. `likeness_k` is the structural similarity of a
picture to the one with k = 1, `psnr_k` the same as a noise ratio in decibels, `edges_k` how well the
picture follows the map (F1), `cost_k` its time as a part of that with k = 1, picture by picture in
turns. `likeness_off` and `edges_off` are those of the picture without the control.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _harness import Result, at_least, at_most, effort, finish, parser, seconds
from PIL import Image
from tiny_model import STEPS, Case, Maker, cases

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.metrics import edge_f1, edges
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.train.tiny.scenes import draw
from lib_ctrlgen.tuner.scoring.map_likeness import structure

EVERY = (1, 2, 3, 5)
LIMITS = {"likeness_2": at_least(0.9), "edges_3": at_least(0.6), "cost_3": at_most(0.98)}


@dataclass(frozen=True)
class Seen:
    """A picture, uint8 [H, W, 3], and the seconds that it took."""

    picture: np.ndarray
    seconds: float


def made(case: Case, maker: Maker, units: Sequence[Mapping[str, Any]]) -> Seen:
    """One picture of a case."""
    found: list[np.ndarray] = []
    spent = seconds(lambda: found.append(maker.picture(case.colourless, case.index, units)))
    return Seen(found[0], spent)


def measure(case: Case, maker: Maker) -> dict[str, float]:
    """Every figure of one scene."""
    outlines, unit = edges(draw(case.scene, 128)[0]), case.unit("edges", 1.0)
    free = made(case, maker, ())
    order = EVERY if case.index % 2 else EVERY[::-1]
    seen = {every: made(case, maker, [{**unit, "reuse": every}]) for every in order}
    whole, found = seen[1], {"edges_off": edge_f1(free.picture, outlines)}
    found["likeness_off"] = alike(free.picture, whole.picture)
    found["cost_off"] = free.seconds / whole.seconds
    for every in EVERY:
        found[f"edges_{every}"] = edge_f1(seen[every].picture, outlines)
        if every > 1:
            found[f"likeness_{every}"] = alike(seen[every].picture, whole.picture)
            found[f"psnr_{every}"] = psnr(seen[every].picture, whole.picture)
            found[f"cost_{every}"] = seen[every].seconds / whole.seconds
    return found


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity in grey, 0..1."""
    return structure(Image.fromarray(one), Image.fromarray(other))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """The ratio of the largest value to the difference, in decibels."""
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-3)))


def figures_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means, and medians of what is time."""
    return {
        name: statistics.median(row[name] for row in rows)
        if name.startswith("cost")
        else statistics.fmean(row[name] for row in rows)
        for name in sorted(rows[0])
    }


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    folder = tiny_folder()
    engine = Engine([folder], 1 << 30, Place.best(folder / "text"))
    maker = Maker(engine=engine, steps=effort(options, smoke=5, quick=STEPS, full=STEPS))
    scenes = list(cases(effort(options, smoke=1, quick=3, full=8)))
    made(scenes[0], maker, [scenes[0].unit("edges", 1.0)])  # load
    return finish(Result("reuse", figures_of([measure(case, maker) for case in scenes]), LIMITS), options)


if __name__ == "__main__":
    sys.exit(main(parser(__doc__ or "").parse_args()))
