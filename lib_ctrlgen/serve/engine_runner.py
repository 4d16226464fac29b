"""Runs jobs with a headless engine, which stays loaded between jobs. It is imported in workers only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from msgspec import Struct

from lib_ctrlgen.cluster.job_runs import Report
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import parse_job
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.models.bundled import bundled_tokenizer
from lib_ctrlgen.models.disk_cache import map_cache
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.coarse import grid_tuner
from lib_ctrlgen.tuner.lock import FolderLock, is_held
from lib_ctrlgen.tuner.progress import Progress, TunerResult
from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner

from .part_progress import PartProgress
from .story_runner import run_story

LOCK_SECONDS = 30.0


class EngineOptions(Struct, frozen=True, kw_only=True):
    """How the engine of a worker is made; the options of `ctrlgen run` by the same names.

    folders    the model folders
    weights    the folders that the user named for the weights of preprocessors
    tokenizer  the folder of another CLIP tokenizer; empty for the bundled one
    threads    the number of CPU threads; 0 measures it
    map_cache  GB of control maps that are kept on disk
    """

    folders: tuple[str, ...]
    weights: tuple[str, ...] = ()
    tokenizer: str = ""
    threads: int = 0
    map_cache: float = 0.0


class EngineRunner:
    """Makes the files of jobs with one engine."""

    def __init__(self, options: EngineOptions) -> None:
        self.engine = Engine(
            tuple(map(Path, options.folders)),
            place=Place.best(Path(options.tokenizer) if options.tokenizer else bundled_tokenizer()),
            threads=options.threads,
            weights=tuple(map(Path, options.weights)),
            disk=map_cache(options.map_cache),
        )

    def run(self, work: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        """Make the files of a job in a folder; see `cluster.job_runs.Runner`.

        Pictures of an earlier attempt are removed, but finished cells of a tuner's run and assets of a story
        are kept.
        """
        payload = dict(work["payload"])
        wait_until_free(folder)
        if work["kind"] == "tune":
            return self.tune(payload, folder, report)
        if work["kind"] == "story":
            return run_story(self.engine, payload, folder, report)
        with FolderLock(folder):
            for path in folder.iterdir():
                if not path.name.startswith("."):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            return self.generate(payload, folder, report)

    def generate(self, payload: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        """Make the pictures of a request."""
        request = parse_job(payload)
        generation = self.engine.generate(request, report)
        written = write_generation(request, generation, new_folder(folder))
        return {
            "pictures": [path.name for path in written.images],
            "sheets": [path.name for path in written.sheets],
            "warnings": list(generation.warnings),
            "seconds": round(generation.seconds, 3),
        }

    def tune(self, payload: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        """Make the cells of a grid or a search, and its report. Raises HostError if every cell failed."""
        spec = parse_request(payload.pop("tune"), TuneSpec)
        state = PartProgress(report)
        host = EngineHost(engine=self.engine, encoder_name=spec.encoder, progress=state.step)

        def cells(progress: Progress) -> None:
            state.parts(progress.done, progress.total)

        if spec.auto is not None:
            tuned = auto_tuner(host, payload, spec, GenerationRequest, folder).run(cells)
        else:
            grid = grid_of(payload, spec, GenerationRequest)
            tuned = grid_tuner(host, grid, folder, GenerationRequest, spec.coarse).run(cells)
        if tuned.failure:
            raise HostError(tuned.failure)
        return tuned_result(tuned)


def wait_until_free(folder: Path, seconds: float = LOCK_SECONDS) -> None:
    """Wait until the worker of an earlier server has ended, which may still hold the folder of a job."""
    end = monotonic() + seconds
    while is_held(folder) and monotonic() < end:
        sleep(0.1)


def tuned_result(tuned: TunerResult) -> dict[str, Any]:
    """What the answer says of a tuner's run."""
    failures = [
        f"{count} of {len(tuned.done)} cells failed: {text}" for text, count in tuned.failures.items()
    ]
    return {
        "pictures": list(dict.fromkeys(name for cell in tuned.done for name in cell.files)),
        "sheets": [path.name for path in tuned.sheets],
        "report": tuned.report.name,
        "recommended": tuned.recommended,
        "reason": tuned.choice.reason if tuned.choice else "",
        "warnings": [*failures, *tuned.warnings],
        "failed": sum(tuned.failures.values()),
    }


def build(options: Mapping[str, Any]) -> EngineRunner:
    """A runner from options as JSON types. Raises RequestError for options that are wrong."""
    import msgspec

    return EngineRunner(msgspec.convert(dict(options), EngineOptions))
