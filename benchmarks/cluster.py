"""How does a grid scale over workers? Pictures per second of one engine, and of several on a Ray cluster.

On the bundled tiny model, workers already open, one core each. On a machine with fewer cores than
workers they share them. Needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from _harness import Result, effort, finish, parser, seconds

from lib_ctrlgen.cluster.connect import connected
from lib_ctrlgen.cluster.options import LOCAL
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import Grid, TuneSpec, grid_of
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.worker import Workers

BASE = {"model": NAME, "prompt": "a red star", "width": 128, "height": 128, "cfg_scale": 4}


def grid(cells: int, steps: int, seed: int) -> Grid:
    """A grid of so many cells that no earlier one made."""
    axis = {"path": "seed", "values": [seed + 1000 * cell for cell in range(cells)]}
    return grid_of(BASE | {"steps": steps}, parse_request({"x": axis}, TuneSpec), GenerationRequest)


def pace(host: EngineHost, workers: Workers | None, options: argparse.Namespace, repeats: int) -> float:
    """Cells per second: the median over grids of other seeds, after one for warming up (not with --smoke)."""
    cells, steps = effort(options, smoke=(2, 1), quick=(8, 4), full=(24, 12))
    times = []
    warm_up = effort(options, smoke=0, quick=1, full=1)
    for number in range(warm_up + repeats):
        with tempfile.TemporaryDirectory() as folder:
            tuner = Tuner(host, grid(cells, steps, number), Path(folder), workers)
            times.append(seconds(partial(tuner.run, lambda _progress: None)))
    return cells / statistics.median(times[warm_up:])


def measured(host: EngineHost, options: argparse.Namespace) -> Mapping[str, float]:
    """The pace of one machine without Ray, and of 1 and N workers."""
    from lib_ctrlgen.cluster.engines import EngineRecipe
    from lib_ctrlgen.cluster.models import SharedModels
    from lib_ctrlgen.cluster.workers import RayWorkers

    repeats = effort(options, smoke=1, quick=1, full=3)
    figures: dict[str, Any] = {"cores": float(os.cpu_count() or 1)}
    recipe = EngineRecipe(models=SharedModels(folders=()))
    figures["alone_cells_per_second"] = pace(host, None, options, repeats)
    for count in sorted({1, options.workers}):
        with RayWorkers([recipe] * count, all_ready=True) as workers:
            figures[f"workers_{count}_cells_per_second"] = pace(host, workers, options, repeats)
    one, many = (figures[f"workers_{count}_cells_per_second"] for count in (1, options.workers))
    return figures | {
        "ray_over_alone": one / figures["alone_cells_per_second"],
        "speedup": many / one,
        "efficiency": many / one / options.workers,
    }


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code. What scaling there can be is the machine's: no limits."""
    folder = tiny_folder()
    host = EngineHost(engine=Engine([folder], place=Place.best(folder / "text")))
    with connected(LOCAL, options.workers):
        return finish(Result("cluster", measured(host, options), {}), options)


if __name__ == "__main__":
    flags = parser(__doc__ or "")
    flags.add_argument("--workers", type=int, help="workers to compare with one: 2, and 1 with --smoke")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = flags.parse_args()
    chosen.workers = chosen.workers or effort(chosen, smoke=1, quick=2, full=2)
    sys.exit(main(chosen))
