"""Workers on a Ray cluster: an engine for each GPU, or for some CPU cores, as in `ctrlgen tune --ray`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.cluster.connect import connected, engine_slots
from lib_ctrlgen.cluster.job_runs import JobWorker, Runner
from lib_ctrlgen.cluster.models import SharedModels
from lib_ctrlgen.cluster.pool import require_packages
from lib_ctrlgen.models.bundled import bundled_folders


@dataclass(frozen=True, kw_only=True)
class EngineRecipe:
    """Builds the runner of an actor; `values` are `engine_runner.EngineOptions` without the folders."""

    models: SharedModels
    values: Mapping[str, Any]
    cores: int
    gpus: int

    @property
    def options(self) -> Mapping[str, Any]:
        """The CPU cores and GPUs that the engine needs."""
        return {"num_cpus": self.cores, "num_gpus": self.gpus}

    def build(self) -> Runner:
        """Build the engine on this node. Raises HostError for a model folder that is missing here."""
        from .engine_runner import build

        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        folders = (*self.models.local_folders(), *bundled_folders())
        return build({**self.values, "threads": self.cores, "folders": list(map(str, folders))})


@contextmanager
def ray_workers(
    address: str, cores: int | None, folders: Sequence[Path], values: Mapping[str, Any]
) -> Iterator[list[JobWorker]]:
    """As many workers as engines fit on the cluster, within the block. Raises HostError.

    The model folders must have the same paths on every node.
    """
    require_packages()
    with connected(address):
        from lib_ctrlgen.cluster.job_actors import RayJobWorker

        slots = engine_slots(cores)
        models = SharedModels(folders=tuple(str(folder.resolve()) for folder in folders))
        recipe = EngineRecipe(models=models, values=values, cores=slots.cores, gpus=slots.gpus)
        yield [RayJobWorker(f"worker {number} of the cluster", recipe) for number in range(slots.engines)]
