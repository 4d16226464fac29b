"""`ctrlgen explain`, which draws figures of what a model and its controls do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.files import expanded, new_folder

from .common import (
    ModelCheck,
    Parser,
    add_map_cache,
    add_model_folders,
    add_threads,
    add_tokenizer,
    bar,
    engine_of,
    folders_of,
)

if TYPE_CHECKING:
    from lib_ctrlgen.headless.explain.table import Entry
    from lib_ctrlgen.headless.jobs import Job

ALL = "all"
EPILOG = """\
examples:
  ctrlgen explain                                the names of the figures
  ctrlgen explain loop                           one figure, with the bundled tiny model
  ctrlgen explain all --out figures
  ctrlgen explain attention my-job.yaml --models MODELS_FOLDER

Each figure is written as NAME.svg, and its numbers as NAME.json. docs/guide.md explains them. With a job of
yours, `all` draws the figures for which the job has what they show.
"""


def add_explain(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command; without a name it lists the figures."""
    found = commands.add_parser(
        "explain",
        help="draw what a model and its controls do: latents, steps, residuals, attention, ...",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("name", nargs="?", help="a figure's name, or all; without one, the names are listed")
    found.add_argument(
        "job", nargs="?", type=expanded, help="job file to explain (one for the bundled tiny model)"
    )
    found.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value of the job, such as steps=30 (repeatable)",
    )
    found.add_argument(
        "--out", type=expanded, default=Path("ctrlgen-out/explain"), help="folder to write (%(default)s)"
    )
    add_model_folders(found)
    add_map_cache(found)
    add_tokenizer(found)
    add_threads(found)
    found.set_defaults(command=explain_command)


def explain_command(options: argparse.Namespace) -> None:
    """`ctrlgen explain`. Prints the files that it writes, and a warning for each figure that is left out."""
    from lib_ctrlgen.headless.explain.lacking import LacksError
    from lib_ctrlgen.headless.explain.table import FIGURES, figure_named

    if options.name is None:
        width = max(len(each.name) for each in FIGURES)
        print("\n".join(f"{each.name:<{width}}  {each.about}" for each in FIGURES))
        return
    chosen = FIGURES if options.name == ALL else (figure_named(options.name),)
    jobs = [job_of(each, options) for each in chosen]
    roots = tuple(dict.fromkeys(root for job in jobs for root in job.roots))
    check = ModelCheck(folders_of(options, roots))
    for job in jobs:
        check.require(job.request)
    out = new_folder(options.out)
    engine = engine_of(options, roots)
    lacking: list[LacksError] = []
    with bar("explain", "figure") as report:
        for number, (each, job) in enumerate(zip(chosen, jobs, strict=True)):
            try:
                made = each.make()(engine, job.request)
            except LacksError as error:
                lacking.append(error)
            else:
                print(*made.written(each.name, out), sep="\n")
            report(number + 1, len(chosen))
    if len(lacking) == len(chosen):
        raise lacking[-1]
    for left_out in lacking:
        print("ctrlgen: warning:", left_out, file=sys.stderr)


def job_of(figure: Entry, options: argparse.Namespace) -> Job:
    """The job that the user named, or the figure's own, with the changes of `--set`."""
    from lib_ctrlgen.headless.jobs import Job, apply_changes, parse_job, read_job

    if options.job is not None:
        return read_job(options.job, options.set)
    return Job(request=parse_job(apply_changes(figure.example(), options.set)), roots=())
