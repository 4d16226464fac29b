"""The command line. Every command imports what it needs when it runs, so that help and plans are quick."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lib_ctrlgen import __version__
from lib_ctrlgen.cluster.options import EXAMPLES, add_options, spread_of
from lib_ctrlgen.errors import CtrlGenError, HostError

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.headless.jobs import TuneJob
    from lib_ctrlgen.tuner.auto import AutoTuner
    from lib_ctrlgen.tuner.run import Tuned, Tuner

FAILURE = 2
INTERRUPTED = 130
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
EPILOG = """\
examples:
  ctrlgen demo                         what controls do: pictures and a page, no download
  ctrlgen run job.yaml --out pictures  make the pictures of a job file
  ctrlgen run job.yaml --set steps=12 --set units.0.weight="1@0, 0@0.6"
  ctrlgen tune job.yaml                the grid or search of its `tune` section, scored
  ctrlgen explore job.yaml --size 5    a map between the concepts of a blend
  ctrlgen plan job.yaml                each unit's weight at each step, without running

`ctrlgen COMMAND --help` says more. Job files: see examples/ and `ctrlgen schema`.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr and leave with code 2."""
        self.exit(FAILURE, f"{self.prog}: error: {message} (try {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    parser = new_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command is not train_command:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except KeyboardInterrupt:
        print("ctrlgen: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except CtrlGenError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        return fail(f"the package {error.name} is missing: pip install 'ctrlgen[headless]'")
    return 0


def fail(message: str) -> int:
    """Print one line to stderr; returns the exit code."""
    print("ctrlgen: error:", " ".join(message.split()), file=sys.stderr)
    return FAILURE


def new_parser() -> argparse.ArgumentParser:
    """The whole command line."""
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
    _add_tune(commands)
    _add_plan(commands)
    schema = commands.add_parser("schema", help="print the JSON Schema of a job")
    schema.set_defaults(command=schema_command)
    _add_tiny(commands)
    train = commands.add_parser("train", help="train the bundled tiny model anew", add_help=False)
    train.set_defaults(command=train_command)
    return parser


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = commands.add_parser("demo", help="show every control on the bundled tiny model, with a report")
    demo.add_argument("--out", type=Path, default=Path("ctrlgen-demo"), help="folder to write (%(default)s)")
    demo.add_argument("--model-folder", type=Path, help="another export of the tiny model")
    demo.set_defaults(command=demo_command)


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser("run", help="make the pictures of a job file")
    _add_job(run)
    _add_models(run)
    run.set_defaults(command=run_command)


def _add_models(parser: Parser) -> None:
    parser.add_argument("--out", type=Path, help="folder to write (ctrlgen-out/NAME OF THE JOB)")
    parser.add_argument(
        "--models",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder with checkpoints, ControlNets, ... (repeatable; also CTRLGEN_MODELS)",
    )
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="another CLIP tokenizer")


def _add_explore(commands: argparse._SubParsersAction[Parser]) -> None:
    explore = commands.add_parser("explore", help="draw a map between a blend's two to four concepts")
    _add_job(explore)
    explore.add_argument("--size", type=int, default=5, metavar="N", help="pictures a side (%(default)s)")
    _add_models(explore)
    explore.set_defaults(command=explore_command)


def _add_tune(commands: argparse._SubParsersAction[Parser]) -> None:
    tune = commands.add_parser(
        "tune",
        help="run the grid or search of a job's `tune` section, scored, with a report",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_job(tune)
    _add_models(tune)
    add_options(tune)
    tune.set_defaults(command=tune_command)


def _add_plan(commands: argparse._SubParsersAction[Parser]) -> None:
    plan = commands.add_parser("plan", help="print each unit's weight at each step, without running")
    _add_job(plan)
    plan.add_argument("--svg", type=Path, metavar="FILE", help="write the plot there, too")
    plan.set_defaults(command=plan_command)


def _add_job(parser: Parser) -> None:
    parser.add_argument("job", type=Path, help="job file, YAML or JSON (see ctrlgen schema)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value of the job, such as units.0.weight=0.5 (repeatable)",
    )


def _add_tiny(commands: argparse._SubParsersAction[Parser]) -> None:
    tiny = commands.add_parser("tiny", help="say where the bundled model lies, or install it in a WebUI")
    tiny.add_argument("--install", type=Path, metavar="WEBUI_FOLDER", help="copy it into this WebUI's models")
    tiny.add_argument("--replace", action="store_true", help="also over different files of the same names")
    tiny.set_defaults(command=tiny_command)


def demo_command(options: argparse.Namespace) -> None:
    """`ctrlgen demo`."""
    folder = _tiny_folder(options.model_folder)
    # Its tensors are too small to share: on a busy machine a second thread only waits for the first.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from lib_ctrlgen.headless.demo import run_demo

    with _bar("demo") as tell:
        demo = run_demo(options.out, folder, tell)
    print(f"{demo.pictures} pictures in {demo.seconds:.0f} s")
    for path in (demo.report, demo.summary):
        print(path)


def run_command(options: argparse.Namespace) -> None:
    """`ctrlgen run`."""
    from lib_ctrlgen.headless.jobs import read_job

    job = read_job(options.job, options.set)
    from lib_ctrlgen.files import new_folder
    from lib_ctrlgen.headless.outputs import write_generation

    engine = _engine(options, job.roots)
    out = new_folder(_out(options))
    with _bar(options.job.stem) as tell:
        generation = engine.generate(job.request, tell)
    written = write_generation(job.request, generation, out)
    for path in (*written.images, *written.sheets, *written.control_maps, written.plan, written.result):
        print(path)


def explore_command(options: argparse.Namespace) -> None:
    """`ctrlgen explore`."""
    options.set = [*options.set, f"blend.explore={options.size}"]
    run_command(options)


def tune_command(options: argparse.Namespace) -> None:
    """`ctrlgen tune`: run again to go on where it stopped."""
    from lib_ctrlgen.headless.jobs import read_tune_job

    job = read_tune_job(options.job, options.set)
    tuned = _search(options, job) if job.tune.auto else _grid(options, job)
    failed = [each for each in tuned.done if each.error]
    print(f"{tuned.made} pictures made, {len(failed)} cells failed")
    if tuned.choice is not None:
        print(f"recommended: {', '.join(tuned.done[tuned.choice.cell].cell.shown)}. {tuned.choice.reason}")
    if tuned.sure:
        print(tuned.sure)
    for path in (tuned.report, *tuned.sheets):
        print(path)


def _grid(options: argparse.Namespace, job: TuneJob) -> Tuned:
    """Run a job's axes, every mistake found before an engine is made."""
    from lib_ctrlgen.spec import GenerationRequest
    from lib_ctrlgen.tuner.cells import grid_of

    grid = grid_of(job.payload, job.tune, GenerationRequest)
    print(f"{len(grid.cells)} cells, {grid.pictures} pictures", file=sys.stderr)
    from lib_ctrlgen.headless.tune import EngineHost
    from lib_ctrlgen.tuner.run import Tuner

    engine = _engine(options, job.roots)
    if not (options.ray or options.webui):
        return _told(options, Tuner(EngineHost(engine=engine), grid, _out(options)), "cell")
    from lib_ctrlgen.cluster.spread import SpreadHost, workers_of

    host = (SpreadHost if options.webui else EngineHost)(engine=engine)
    requests = [host.batch(cell.payload, grid.seeds) for cell in grid.cells]
    folders = (*job.roots, *_model_roots(options.models))
    with workers_of(spread_of(options), folders, requests) as workers:
        return _told(options, Tuner(host, grid, _out(options), workers), "cell")


def _search(options: argparse.Namespace, job: TuneJob) -> Tuned:
    """Run a job's `auto`."""
    if options.ray or options.webui:
        raise HostError("a search (`auto`) runs on this machine: leave --ray and --webui out")
    from lib_ctrlgen.headless.tune import EngineHost
    from lib_ctrlgen.spec import GenerationRequest
    from lib_ctrlgen.tuner.auto import auto_tuner

    host = EngineHost(engine=_engine(options, job.roots))
    tuner = auto_tuner(host, job.payload, job.tune, GenerationRequest, _out(options))
    return _told(options, tuner, "picture")


def _told(options: argparse.Namespace, tuner: Tuner | AutoTuner, unit: str) -> Tuned:
    """What a tuner makes, under a progress bar."""
    with _bar(options.job.stem, unit) as tell:
        return tuner.run(lambda progress: tell(progress.done, progress.total))


def plan_command(options: argparse.Namespace) -> None:
    """`ctrlgen plan`."""
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.headless.samplers import find_sampler
    from lib_ctrlgen.plan import shown_plan

    request = read_job(options.job, options.set).request
    find_sampler(request.sampler)
    prompts = {"$.prompt": request.prompt, "$.negative_prompt": request.negative_prompt}
    plan = shown_plan(request, request.steps, prompts)
    print(plan.table())
    if options.svg is not None:
        try:
            options.svg.write_text(plan.svg(), "utf-8")
        except OSError as error:
            raise HostError(f"cannot write {options.svg}: {error.strerror or error}") from error


def schema_command(_options: argparse.Namespace) -> None:
    """`ctrlgen schema`."""
    from lib_ctrlgen.spec import json_schema

    print(json.dumps(json_schema(), indent=2))


def tiny_command(options: argparse.Namespace) -> None:
    """`ctrlgen tiny`."""
    from lib_ctrlgen.tiny import install, tiny_folder

    if options.install is None:
        print(tiny_folder())
        return
    for placed in install(options.install, replace=options.replace):
        print(f"{placed.action:>13}  {placed.path}")


def train_command(options: argparse.Namespace) -> None:
    """`ctrlgen train`: hands its arguments to `lib_ctrlgen.train`."""
    from lib_ctrlgen.train.__main__ import main as train

    train(options.rest)


def _tiny_folder(other: Path | None) -> Path:
    """The bundled model's folder, or another export of it."""
    from lib_ctrlgen.tiny import tiny_folder

    return tiny_folder() if other is None else other


def _bundled() -> tuple[Path, ...]:
    """The bundled model's folder, if this installation has it: a job may do without."""
    from lib_ctrlgen.tiny import tiny_folder

    with suppress(HostError):
        return (tiny_folder(),)
    return ()


def _engine(options: argparse.Namespace, roots: Sequence[Path]) -> Engine:
    """The engine over a job's own folders, those of the options, and the bundled model's."""
    tiny = _bundled()
    folders = (*roots, *_model_roots(options.models), *tiny)
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.headless.load import Place

    tokenizer = options.tokenizer or next((folder / "text" for folder in tiny), None)
    return Engine(folders, place=Place.best(tokenizer))


def _out(options: argparse.Namespace) -> Path:
    """Where a job's files go."""
    return Path(options.out or Path("ctrlgen-out") / options.job.stem)


def _model_roots(given: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of `--models`, then those of CTRLGEN_MODELS. Raises HostError for one that is not there."""
    listed = [Path(name) for name in os.environ.get("CTRLGEN_MODELS", "").split(os.pathsep) if name]
    roots = tuple(path.expanduser() for path in (*given, *listed))
    missing = next((path for path in roots if not path.is_dir()), None)
    if missing is not None:
        raise HostError(f"the model folder {missing} is not there")
    return roots


@contextmanager
def _bar(title: str, unit: str = "step") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields `tell(done, total)`."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 5.0
    with tqdm(desc=title, unit=unit, dynamic_ncols=True, mininterval=interval, delay=0.1) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


if __name__ == "__main__":
    sys.exit(main())
