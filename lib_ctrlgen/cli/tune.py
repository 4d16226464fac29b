"""`ctrlgen tune`: a grid or a search, on this machine or on several."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.cluster.options import EXAMPLES, add_options, pool_options
from lib_ctrlgen.errors import HostError

from .common import (
    ModelCheck,
    Parser,
    add_job,
    add_models,
    bar,
    engine_of,
    folders_of,
    model_roots,
    out_of,
    program,
)
from .output import PARTLY_FAILED
from .server import add_server, require_server_options, server_command

EXIT_CODES = f"""\
exit code: 0 when every cell was made; {PARTLY_FAILED} when some cells failed (the others are kept and
reported; stderr says how many failed and why the first one did); 2 after an error or if every cell
failed; 130 after Ctrl-C.
"""

if TYPE_CHECKING:
    from lib_ctrlgen.headless.jobs import TuneJob
    from lib_ctrlgen.request.spec import GenerationRequest
    from lib_ctrlgen.tuner.progress import TunerResult
    from lib_ctrlgen.tuner.run import Tuner
    from lib_ctrlgen.tuner.search.auto_tuner import AutoTuner


def add_tune(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the parser."""
    tune = commands.add_parser(
        "tune",
        help="run the grid or search in a job's `tune` section, with scores and a report",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_job(tune)
    add_models(tune)
    add_options(tune)
    add_server(tune)
    tune.set_defaults(command=tune_command)


def tune_command(options: argparse.Namespace) -> int:
    """`ctrlgen tune`; a stopped run continues. Returns the exit code: 0, or PARTLY_FAILED."""
    from lib_ctrlgen.headless.jobs import read_tune_job

    on_server = require_server_options(options)
    job = read_tune_job(options.job, options.set)
    if on_server:
        from lib_ctrlgen.request.spec import to_payload

        return server_command(options, "tune", {**job.payload, "tune": to_payload(job.tune)}, out_of(options))
    try:
        tuned = _search(options, job) if job.tune.auto else _grid(options, job)
    except KeyboardInterrupt:
        print(
            f"ctrlgen: finished cells are kept in {out_of(options)}; continue with: {_command()}",
            file=sys.stderr,
        )
        raise
    _print_result(tuned)
    if tuned.failure:
        raise HostError(tuned.failure)
    if not tuned.failures:
        return 0
    first, failed = next(iter(tuned.failures)), sum(tuned.failures.values())
    print(f"ctrlgen: {failed} of {len(tuned.done)} cells failed, the first: {first}", file=sys.stderr)
    return PARTLY_FAILED


def _print_result(tuned: TunerResult) -> None:
    """Print the result of a run; warnings and the reasons of failed cells go to stderr."""
    print(f"{tuned.made} pictures made, {sum(tuned.failures.values())} cells failed")
    if len(tuned.failures) > 1:
        for error, count in tuned.failures.items():
            print(f"ctrlgen: {count} of {len(tuned.done)} cells failed: {error}", file=sys.stderr)
    for warning in tuned.warnings:
        print(f"ctrlgen: warning: {warning}", file=sys.stderr)
    if tuned.choice is not None:
        print(f"recommended: {tuned.recommended}. {tuned.choice.reason}")
    if tuned.confidence:
        print(tuned.confidence)
    for path in (tuned.report, *tuned.sheets):
        print(path)


def _command() -> str:
    """The command line of this run."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def _grid(options: argparse.Namespace, job: TuneJob) -> TunerResult:
    """Run a job's axes. Errors in them are found before the engine is created."""
    from lib_ctrlgen.request.spec import GenerationRequest
    from lib_ctrlgen.tuner.axis_errors import check_grid
    from lib_ctrlgen.tuner.cells import grid_of
    from lib_ctrlgen.tuner.open_seed import with_kept_seeds

    payload = with_kept_seeds(job.payload, out_of(options))
    grid = grid_of(payload, job.tune, GenerationRequest)
    if not options.webui:  # WebUIs have their own models
        check_grid(grid, _parser(options, job))
    print(f"{len(grid.cells)} cells, {grid.pictures} pictures", file=sys.stderr)
    from lib_ctrlgen.headless.tune import EngineHost
    from lib_ctrlgen.tuner.coarse import grid_tuner

    engine, encoder = engine_of(options, job.roots), job.tune.encoder
    if not (options.ray or options.webui):
        host = EngineHost(engine=engine, encoder_name=encoder)
        tuner = grid_tuner(host, grid, out_of(options), GenerationRequest, job.tune.coarse)
        return _run(options, tuner, "cell")
    from lib_ctrlgen.cluster.pool import WebUIPoolHost, workers_of

    host = (WebUIPoolHost if options.webui else EngineHost)(engine=engine, encoder_name=encoder)
    requests = [host.batch(cell.payload, grid.seeds) for cell in grid.cells]
    folders = (*job.roots, *model_roots(options.models))
    with workers_of(pool_options(options, encoder), folders, requests) as workers:
        tuner = grid_tuner(host, grid, out_of(options), GenerationRequest, job.tune.coarse, workers)
        return _run(options, tuner, "cell")


def _search(options: argparse.Namespace, job: TuneJob) -> TunerResult:
    """Run a job's search (`auto`)."""
    if options.ray or options.webui:
        raise HostError("a search (`auto`) runs on this machine only: leave out --ray and --webui")
    from lib_ctrlgen.request.spec import GenerationRequest
    from lib_ctrlgen.tuner.axis_errors import check_space
    from lib_ctrlgen.tuner.search.space import space_of

    if job.tune.auto is not None:
        check_space(space_of(job.payload, job.tune.auto, GenerationRequest), _parser(options, job))
    from lib_ctrlgen.headless.tune import EngineHost
    from lib_ctrlgen.tuner.open_seed import with_kept_seeds
    from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner

    host = EngineHost(engine=engine_of(options, job.roots), encoder_name=job.tune.encoder)
    payload = with_kept_seeds(job.payload, out_of(options))
    tuner = auto_tuner(host, payload, job.tune, GenerationRequest, out_of(options))
    return _run(options, tuner, "picture")


def _parser(options: argparse.Namespace, job: TuneJob) -> Callable[[Mapping[str, Any]], GenerationRequest]:
    """A function that parses a cell's request. It raises RequestError for unknown samplers and models."""
    from lib_ctrlgen.request.spec import GenerationRequest, parse_request

    known = ModelCheck(folders_of(options, job.roots))

    def request_of(payload: Mapping[str, Any]) -> GenerationRequest:
        request = parse_request(dict(payload), GenerationRequest)
        known.require(request)
        return request

    return request_of


def _run(options: argparse.Namespace, tuner: Tuner | AutoTuner, unit: str) -> TunerResult:
    """Run a tuner under a progress bar."""
    with bar(options.job.stem, unit) as report:
        return tuner.run(lambda progress: report(progress.done, progress.total))
