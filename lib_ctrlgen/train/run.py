"""A whole training: checks, cost, caches, steps with checkpoints and validations, the file, the report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import CtrlGenError, StoppedError
from lib_ctrlgen.files import expanded, new_folder, require_own_copy, save_bytes, save_text
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.request.training import TrainingSpec, training_payload
from lib_ctrlgen.request.training_state import TRAINING
from lib_ctrlgen.tuner.lock import FolderLock

from .checkpoint import NAME, Sources, load_checkpoint, save_checkpoint
from .choice import chosen_of, doubts, should_stop
from .cost import Cost
from .evaluation import Evaluation
from .metadata import metadata_of
from .prepare import Prepared, prepare
from .progress import Progress
from .report import write_report
from .run_state import Observer, RunState
from .validation import Measured, held_out_loss

SPEC = "spec.yaml"
Announce = Callable[[Prepared], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training: the file, the report, the step of the exported weights, the validations.

    warnings  what the user should know of the exported weights, see `choice.doubts`
    """

    out: Path
    report: Path
    step: int
    measured: tuple[Measured, ...]
    cost: Cost
    seconds: float
    warnings: tuple[str, ...]


def folder_of(spec: TrainingSpec) -> Path:
    """The folder of a training's checkpoints, caches, previews and report."""
    return out_of(spec).with_suffix(TRAINING)


def out_of(spec: TrainingSpec) -> Path:
    """The file that a training writes."""
    return expanded(spec.out)


def train(
    spec: TrainingSpec,
    engine: Engine,
    observer: Observer | None = None,
    announce: Announce | None = None,
    *,
    restart: bool = False,
    copy_to: Path | None = None,
) -> Trained:
    """Train what the spec asks for, and go on where an interrupted training of the same spec was.

    `announce` is called before the first step, with the cost. `restart` forgets an earlier training.
    `copy_to` is a folder that gets the finished file, too; another file of this name there is never replaced.
    Raises RequestError for what is wrong with the spec or the pictures, HostError for such a file, and
    StoppedError if somebody asked to stop.
    """
    folder = new_folder(folder_of(spec))
    with FolderLock(folder):
        state = RunState(spec, folder, observer)
        state.forget_stop()
        if restart:
            forget(folder)
        with _reported(state):
            prepared = prepare(spec, engine, folder)
            state.change(warnings=prepared.warnings, about=prepared.method.about(), cost=str(prepared.cost))
            if announce is not None:
                announce(prepared)
            save_text(yaml_text(training_payload(spec)), folder / SPEC)
            return Run(prepared, state, copy_to).run()


def forget(folder: Path) -> None:
    """Remove what an earlier training in a folder found; its caches stay."""
    (folder / NAME).unlink(missing_ok=True)
    shutil.rmtree(folder / "previews", ignore_errors=True)


@contextmanager
def _reported(state: RunState) -> Iterator[None]:
    """Write how the block ended into the state."""
    try:
        yield
    except (KeyboardInterrupt, StoppedError):
        state.change(status="stopped", seconds_left=None)
        raise
    except CtrlGenError as error:
        state.change(status="failed", error=str(error))
        raise
    except Exception as error:
        state.change(status="failed", error=f"{type(error).__name__}: {error}")
        raise


class Run:
    """The steps of one training."""

    def __init__(self, prepared: Prepared, state: RunState, copy_to: Path | None = None) -> None:
        self.state, self.folder, self.copy_to = state, prepared.folder, copy_to
        state.change(status="caching")
        self.prepared = prepared.with_prior(state.cache)
        self.spec = self.prepared.spec
        self.loop, self.held_out = self.prepared.loop(state.cache)
        self.evaluation = Evaluation(self.prepared)
        self.sources = Sources(
            spec=self.spec, pictures=self.prepared.pictures.digest, models=self.prepared.models
        )
        self.progress = self._resumed()
        self._require_free_target()

    def _resumed(self) -> Progress:
        """The progress of the checkpoint, if there is one, which the loop continues from."""
        found = load_checkpoint(self.folder, self.sources)
        if found is None:
            return Progress()
        self.loop.load_state_dict(found)
        return Progress.of(found["progress"])

    def run(self) -> Trained:
        """Train up to the last step, or until it gets no better; export and report."""
        self.state.change(status="training", step=self.loop.done)
        with self.prepared.method.engaged():
            if not self.progress.measured:
                self._validate()
            while self.loop.done < self.spec.steps and not should_stop(self.progress.measured, self.spec):
                self._step()
                if self.state.asked_to_stop:
                    self._save()
                    raise StoppedError(
                        f"stopped after step {self.loop.done}; the same command goes on from there"
                    )
            if self.progress.measured[-1].step < self.loop.done:
                self._validate()
            self._save()
        return self._finish()

    def _step(self) -> None:
        begin = time.perf_counter()
        self.progress.losses.append(self.loop.step())
        self.progress.seconds += time.perf_counter() - begin
        self.state.change(
            step=self.loop.done,
            loss=self.progress.loss,
            seconds_left=self.progress.seconds_left(self.spec.steps),
        )
        if self.spec.validate_every and self.loop.done % self.spec.validate_every == 0:
            self._validate()
        if self.loop.done % self.spec.save_every == 0:
            self._save()

    def _save(self) -> None:
        progress = {"progress": self.progress.state_dict()}
        save_checkpoint(self.folder, self.sources, {**self.loop.state_dict(), **progress})

    def _validate(self) -> None:
        """Measure the averaged weights, and keep them if they are the ones to export so far."""
        self.state.change(status="validating")
        with self.loop.average.applied():
            loss = None if self.held_out is None else held_out_loss(self.loop, self.held_out)
            seen = self.evaluation.measure(self.loop.done)
            found = Measured(
                step=self.loop.done,
                loss=loss,
                likeness=seen.likeness,
                accuracy=seen.accuracy,
                previews=seen.previews,
            )
            self.progress.measured.append(found)
            if chosen_of(self.progress.measured, self.spec) is found:
                self._keep()
        self.state.change(
            status="training",
            held_out=loss,
            likeness=found.likeness,
            accuracy=found.accuracy,
            previews=found.previews,
        )

    def _keep(self) -> None:
        weights = self.prepared.method.module().state_dict()
        self.progress.best = {name: each.detach().cpu().clone() for name, each in weights.items()}
        self.progress.best_step = self.loop.done

    def _finish(self) -> Trained:
        self._require_free_target()
        step = self._export()
        warnings = doubts(self.progress.measured, self.spec)
        report = write_report(self.prepared, self.progress, step, warnings)
        if self.copy_to is not None:
            out = out_of(self.spec)
            save_bytes(out.read_bytes(), self.copy_to / out.name)
        self.state.change(status="finished", seconds_left=0.0, warnings=(*self.prepared.warnings, *warnings))
        return Trained(
            out=out_of(self.spec),
            report=report,
            step=step,
            measured=tuple(self.progress.measured),
            cost=self.prepared.cost,
            seconds=self.progress.seconds,
            warnings=warnings,
        )

    def _require_free_target(self) -> None:
        """Raise HostError if the folder of `copy_to` has another file of this name."""
        if self.copy_to is not None:
            out = out_of(self.spec)
            require_own_copy(self.copy_to / out.name, out)

    def _export(self) -> int:
        """Write the best weights, else the averaged ones of the last step; returns their step."""
        prepared, step = self.prepared, self.progress.best_step or self.loop.done
        with self.loop.average.applied():
            if self.progress.best_step is not None:
                prepared.method.module().load_state_dict(self.progress.best)
            details = metadata_of(self.spec, prepared.base, prepared.checkpoint, prepared.pictures, step)
            prepared.method.export(out_of(self.spec), details)
        return step
