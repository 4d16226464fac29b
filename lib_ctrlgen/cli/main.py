"""The parser and the commands. Each command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import CtrlGenError, RequestError, install_command
from lib_ctrlgen.files import expanded
from lib_ctrlgen.plots.plan_view import plan_svg, plan_table

from .blueprint import add_blueprint
from .common import (
    ModelCheck,
    Parser,
    add_job,
    add_models,
    add_threads,
    bar,
    engine_of,
    folders_of,
    next_commands,
    out_of,
)
from .convert import add_convert
from .detect import add_detect
from .explain import add_explain
from .face import add_face
from .lists import add_lists
from .models import add_models_command
from .output import can_print, discard_output, escape_unprintable, fail, flush
from .product import add_product
from .recipes import add_recipes
from .send import add_send
from .serve import add_serve
from .server import add_server, require_server_options, server_command
from .story import add_story
from .train import add_train, tiny_training_command
from .tune import add_tune

if TYPE_CHECKING:
    from lib_ctrlgen.headless.jobs import Job

INTERRUPTED = 130
OFFLINE = "HF_HUB_OFFLINE"
QUIET = {
    OFFLINE: "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
EPILOG = """\
examples:
  ctrlgen demo                         shows what controls do, as pictures and a page; no download
  ctrlgen run job.yaml --out pictures  make the pictures of a job file
  ctrlgen run job.yaml --set steps=12 --set units.0.weight="1@0, 0@0.6"
  ctrlgen tune job.yaml                the grid or search in its `tune` section, with scores
  ctrlgen blueprint sketches --out DIR  a folder of hand-drawn plans in one look, with a report
  ctrlgen product DIR --out DIR        one product in many environments; flags where it got lost
  ctrlgen story story.yaml --out DIR   characters in poses and places, in blended styles, as sheets
  ctrlgen explore job.yaml --size 5    a map between the concepts of a blend
  ctrlgen plan job.yaml                each unit's weight at each step, without running
  ctrlgen explain loop                 draws how a picture is made, step by step
  ctrlgen send job.yaml --webui URL    make the pictures on a running WebUI
  ctrlgen run job.yaml --server URL    make them on a server for a team; also `tune` and `story`

`ctrlgen COMMAND --help` says more. Job files: see examples/ and `ctrlgen schema`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0, 2 after an error, 130 after Ctrl-C.

    `tune` returns another code if some of its cells failed.
    """
    escape_unprintable()
    try:
        try:
            code = run_arguments(arguments)
        finally:
            flush()
    except BrokenPipeError:
        discard_output()
        return 0
    except KeyboardInterrupt:
        discard_output()
        return INTERRUPTED
    except OSError as error:
        discard_output()
        return fail(f"{error.filename or 'cannot write the output'}: {error.strerror or error}")
    return code


def run_arguments(arguments: Sequence[str] | None) -> int:
    """Parse the arguments, run the command and return its exit code."""
    parser = new_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command is not tiny_training_command:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    for name, value in QUIET.items():
        if not (name == OFFLINE and getattr(options, "downloads", False)):
            os.environ.setdefault(name, value)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except KeyboardInterrupt:
        print("ctrlgen: interrupted", file=sys.stderr)
        return INTERRUPTED
    except CtrlGenError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        return fail(f"the package {error.name} is missing; install it with: {install_command('headless')}")


def new_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="ctrlgen",
        description="Stacked, scheduled controls for Stable Diffusion.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ctrlgen {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    _add_demo(commands)
    _add_run(commands)
    _add_explore(commands)
    add_tune(commands)
    add_blueprint(commands)
    add_product(commands)
    add_story(commands)
    _add_plan(commands)
    add_explain(commands)
    add_send(commands)
    add_serve(commands)
    add_convert(commands)
    schema = commands.add_parser("schema", help="print the JSON Schema of job or story files, for editors")
    schema.add_argument("file", nargs="?", default="job", choices=("job", "story"), help="(%(default)s)")
    schema.set_defaults(command=schema_command)
    add_lists(commands)
    add_detect(commands)
    add_models_command(commands)
    add_face(commands)
    add_recipes(commands)
    _add_tiny(commands)
    add_train(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = commands.add_parser("demo", help="show every control on the bundled tiny model, with a report")
    demo.add_argument(
        "--out", type=expanded, default=Path("ctrlgen-demo"), help="folder to write (%(default)s)"
    )
    demo.add_argument("--model-folder", type=expanded, help="another export of the tiny model")
    add_threads(demo)
    demo.set_defaults(command=demo_command)


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser("run", help="make the pictures of a job file")
    add_job(run)
    add_models(run)
    add_server(run)
    run.set_defaults(command=run_command)


def _add_explore(commands: argparse._SubParsersAction[Parser]) -> None:
    explore = commands.add_parser("explore", help="draw a map between a blend's two to four concepts")
    add_job(explore)
    explore.add_argument("--size", type=int, default=5, metavar="N", help="pictures a side (%(default)s)")
    add_models(explore)
    explore.set_defaults(command=explore_command)


def _add_plan(commands: argparse._SubParsersAction[Parser]) -> None:
    plan = commands.add_parser("plan", help="print each unit's weight at each step, without running")
    add_job(plan)
    plan.add_argument("--svg", type=expanded, metavar="FILE", help="also write the plan as an SVG")
    plan.set_defaults(command=plan_command)


def _add_tiny(commands: argparse._SubParsersAction[Parser]) -> None:
    tiny = commands.add_parser("tiny", help="print the folder of the bundled model, or install it in a WebUI")
    tiny.add_argument(
        "--install", type=expanded, metavar="WEBUI_FOLDER", help="copy it into this WebUI's models"
    )
    tiny.add_argument("--replace", action="store_true", help="also replace different files of the same names")
    tiny.set_defaults(command=tiny_command)


def demo_command(options: argparse.Namespace) -> None:
    """`ctrlgen demo`."""
    folder = _tiny_folder(options.model_folder)
    from lib_ctrlgen.headless.demo import run_demo

    with bar("demo") as report:
        demo = run_demo(options.out, folder, report, options.threads)
    print(f"{demo.pictures} pictures in {demo.seconds:.0f} s")
    for path in (demo.report, demo.summary):
        print(path)
    for line in next_commands():
        print(line)


def run_command(options: argparse.Namespace) -> int:
    """`ctrlgen run`."""
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.request.spec import to_payload

    job = read_job(options.job, options.set)
    if require_server_options(options):
        return server_command(options, "run", to_payload(job.request), out_of(options))
    make_pictures(options, job)
    return 0


def explore_command(options: argparse.Namespace) -> None:
    """`ctrlgen explore`."""
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.request.blend import MAX_MAP

    if not 2 <= options.size <= MAX_MAP:
        raise RequestError("", f"--size must be 2..{MAX_MAP} pictures a side, got {options.size}")
    if read_job(options.job, options.set).request.blend is None:
        raise RequestError("$.blend", "a map needs a blend of two to four concepts (see examples/blend.yaml)")
    make_pictures(options, read_job(options.job, [*options.set, f"blend.explore={options.size}"]))


def make_pictures(options: argparse.Namespace, job: Job) -> None:
    """Generate and write a job's pictures, after the checks that do not need torch."""
    ModelCheck(folders_of(options, job.roots)).require(job.request)
    from lib_ctrlgen.files import new_folder

    out = new_folder(out_of(options))
    engine = engine_of(options, job.roots)
    with bar(options.job.stem) as report:
        generation = engine.generate(job.request, report)
    from lib_ctrlgen.headless.outputs import write_generation

    written = write_generation(job.request, generation, out)
    for text in generation.warnings:
        print("ctrlgen: warning:", text, file=sys.stderr)
    for path in (*written.images, *written.sheets, *written.control_maps, written.plan, written.result):
        print(path)


def plan_command(options: argparse.Namespace) -> None:
    """`ctrlgen plan`."""
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.plots.plan_view import ASCII_BARS, BARS, shown_plan
    from lib_ctrlgen.request.sampler_names import SAMPLERS

    request = read_job(options.job, options.set).request
    prompts = {"$.prompt": request.prompt, "$.negative_prompt": request.negative_prompt}
    steps = SAMPLERS[request.sampling.sampler].total_steps(request.steps)
    plan = shown_plan(request, steps, prompts)
    print(plan_table(plan, BARS if can_print(BARS) else ASCII_BARS))
    if options.svg is not None:
        from lib_ctrlgen.files import save_text

        save_text(plan_svg(plan), options.svg)


def schema_command(options: argparse.Namespace) -> None:
    """`ctrlgen schema`."""
    from lib_ctrlgen.headless.job_schema import job_schema
    from lib_ctrlgen.projects.story.schema import story_schema

    schema = story_schema() if options.file == "story" else job_schema()
    print(json.dumps(schema, indent=2))


def tiny_command(options: argparse.Namespace) -> None:
    """`ctrlgen tiny`."""
    from lib_ctrlgen.models.bundled import install, tiny_folder

    if options.install is None:
        print(tiny_folder())
        return
    for placed in install(options.install, replace=options.replace):
        print(f"{placed.action:>13}  {placed.path}")


def _tiny_folder(other: Path | None) -> Path:
    """The bundled model's folder, or another export of it."""
    from lib_ctrlgen.models.bundled import tiny_folder

    return tiny_folder() if other is None else other


if __name__ == "__main__":
    sys.exit(main())
