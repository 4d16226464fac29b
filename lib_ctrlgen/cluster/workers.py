"""The tuner's workers on a Ray cluster. When one is lost, others make its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import CtrlGenError, HostError
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.tuner.worker import Outcome, Stack, Task

from .actor import LostError, Recipe, WorkerActor
from .batches import LOSSES, Batch, Batches

START_SECONDS = 600.0  # seconds until the first worker must have started
CLEANUP_SECONDS = 10.0  # seconds for workers to clean up
NOT_STARTED = (
    "no worker of the cluster could be started ({error}): every node needs memory for an engine and a "
    'copy of this folder, installed there with: python -m pip install -e ".[cluster,headless]"'
)


@dataclass(eq=False)
class WorkerHandle:
    """A worker; `batch` is what it is making, None while it starts or is idle."""

    recipe: Recipe
    actor: Any
    batch: Batch | None = None


class RayWorkers:
    """Workers built from recipes, started and ended by a `with` block on a connected cluster.

    With `all_ready`, every worker must have started before the block begins.
    """

    def __init__(self, recipes: Sequence[Recipe], *, all_ready: bool = False) -> None:
        self.recipes, self.all_ready = tuple(recipes), all_ready
        self.pending: dict[Any, WorkerHandle] = {}
        self.idle: list[WorkerHandle] = []
        self.false_starts = 0

    def __enter__(self) -> RayWorkers:
        for recipe in self.recipes:
            self.start(recipe)
        try:
            while self.pending and (self.all_ready or not self.idle):
                for handle, answer in self.results():
                    self.worker_started(handle, answer)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def each(self, stacks: Sequence[Stack]) -> Iterator[tuple[Task, Outcome]]:
        """Make every task once, and yield it when it is finished. Raises HostError if no worker is left.

        If the iteration is stopped early, the workers stay busy: open new ones for another run.
        """
        batches = Batches(stacks, len(self.recipes))
        while batches or self.busy:
            while batches and self.idle:
                self.assign(self.idle.pop(), batches.take())
            for handle, answer in self.results():
                batch, handle.batch = handle.batch, None
                if batch is None:
                    self.worker_started(handle, answer)
                elif isinstance(answer, Exception):
                    self.replace(handle)
                    yield from batches.lost(batch)
                else:
                    self.idle.append(handle)
                    outcomes: dict[str, Outcome] = dict(answer)
                    yield from ((task, outcomes[task.key]) for task in batch.tasks)

    @property
    def busy(self) -> list[WorkerHandle]:
        """The workers that are making cells now."""
        return [handle for handle in self.pending.values() if handle.batch is not None]

    def start(self, recipe: Recipe) -> None:
        """Start a worker; it is ready when its call `open` has returned."""
        actor: Any = ray.remote(WorkerActor).options(**recipe.options).remote(recipe)
        self.pending[actor.open.remote()] = WorkerHandle(recipe, actor)

    def assign(self, handle: WorkerHandle, batch: Batch) -> None:
        """Give a worker the next batch."""
        handle.batch = batch
        cells = [(task.key, to_payload(task.request, whole=True)) for task in batch.tasks]
        self.pending[handle.actor.make.remote(cells)] = handle

    def results(self) -> Iterator[tuple[WorkerHandle, Any]]:
        """The results that have arrived: a value or the error in its place, and its worker."""
        if not self.pending:
            raise HostError("no worker is left: finished cells are kept, run the command again to continue")
        ready, _ = ray.wait(list(self.pending), timeout=START_SECONDS)
        if not ready and not self.busy:
            raise HostError(NOT_STARTED.format(error=f"waited for {START_SECONDS:.0f} s"))
        for reference in ready:
            handle = self.pending.pop(reference)
            yield handle, received(reference)

    def worker_started(self, handle: WorkerHandle, answer: Any) -> None:
        """Handle the result of a worker's start."""
        if isinstance(answer, Exception):
            self.false_starts += 1
            if not handle.recipe.restartable or self.false_starts > LOSSES * len(self.recipes):
                raise HostError(NOT_STARTED.format(error=first_line(answer))) from answer
            self.replace(handle)
        elif answer != __version__:
            raise HostError(f"a node of the cluster has ctrlgen {answer}, this machine has {__version__}")
        else:
            self.idle.append(handle)

    def replace(self, handle: WorkerHandle) -> None:
        """Replace a lost worker, if its recipe allows that."""
        ray.kill(handle.actor)
        if handle.recipe.restartable:
            self.start(handle.recipe)

    def close(self) -> None:
        """End all workers that were started here; those that can clean up do so first."""
        handles = [*self.idle, *self.pending.values()]
        stopping = [
            h.actor.stop.remote()
            for h in handles
            if h in self.idle or h.recipe.options.get("max_concurrency")
        ]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=CLEANUP_SECONDS)
        for handle in handles:
            ray.kill(handle.actor)
        self.idle, self.pending = [], {}


def received(reference: Any) -> Any:
    """The value that a worker returned, or a LostError. Raises errors that end the run."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, LostError):
            return error.cause
        if isinstance(error.cause, CtrlGenError):
            raise error.cause from error
        raise
    except RayError as error:
        return error


def first_line(error: Exception) -> str:
    """The first line of an error's text; Ray's errors are long."""
    return str(error).strip().partition("\n")[0]
