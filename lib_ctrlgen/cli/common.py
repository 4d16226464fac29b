"""Options, the engine and the progress bar that several commands share.

Large packages are imported when they are first used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, NoReturn

from lib_ctrlgen.errors import HostError, at_path, quoted
from lib_ctrlgen.files import expanded

from .output import FAILURE, SafeStderr

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.models.disk_cache import DiskCache
    from lib_ctrlgen.request.spec import GenerationRequest

MOST_THREADS = 1024
MOST_GIGABYTES = 1 << 20
MAP_CACHE = "CTRLGEN_MAP_CACHE"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr and leave with code 2."""
        self.exit(FAILURE, f"{self.prog}: error: {message} (try {self.prog} --help)\n")


def add_job(parser: Parser, *, optional: bool = False) -> None:
    """Add the job file, and changes to it."""
    parser.add_argument(
        "job",
        type=expanded,
        help="job file, YAML or JSON (see ctrlgen schema)",
        nargs="?" if optional else None,
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value of the job, such as units.0.weight=0.5 (repeatable)",
    )


def add_models(parser: Parser) -> None:
    """Add the folder for pictures, and the model options."""
    parser.add_argument("--out", type=expanded, help="folder to write (ctrlgen-out/NAME OF THE JOB)")
    add_model_folders(parser)
    add_map_cache(parser)
    add_tokenizer(parser)
    add_threads(parser)


def add_model_folders(parser: Parser, *, again: bool = False) -> None:
    """Add the options for model folders; `again` for a subcommand of a command that has them, too."""
    parser.add_argument(
        "--models",
        type=expanded,
        action="append",
        default=argparse.SUPPRESS if again else [],
        metavar="FOLDER",
        help="folder with checkpoints, ControlNets, ..., or of a WebUI (repeatable; also CTRLGEN_MODELS)",
    )


def add_map_cache(parser: Parser) -> None:
    """Add the size of the cache of control maps on disk."""
    parser.add_argument(
        "--map-cache",
        type=gigabytes_of,
        default=None,
        metavar="GB",
        help="keep control maps on disk, up to so many GB, in CtrlGen's folder (also CTRLGEN_MAP_CACHE; "
        "default: 0, none)",
    )


def gigabytes_of(text: str) -> float:
    """A size in GB in an argument. Raises ArgumentTypeError."""
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size <= MOST_GIGABYTES:
        raise argparse.ArgumentTypeError(f"a size in GB from 0 to {MOST_GIGABYTES}, not {text!r}")
    return size


def map_cache_of(options: argparse.Namespace) -> DiskCache | None:
    """The cache of control maps on disk, by the option or else CTRLGEN_MAP_CACHE. Raises HostError."""
    from lib_ctrlgen.models.disk_cache import map_cache

    text = os.environ.get(MAP_CACHE, "")
    try:
        size = options.map_cache if options.map_cache is not None else gigabytes_of(text or "0")
    except argparse.ArgumentTypeError as error:
        raise HostError(f"{MAP_CACHE} is {error}") from error
    return map_cache(size)


def add_tokenizer(parser: Parser) -> None:
    """Add the folder of a tokenizer."""
    parser.add_argument("--tokenizer", type=expanded, metavar="FOLDER", help="another CLIP tokenizer")


def add_threads(parser: Parser) -> None:
    """Add the number of CPU threads."""
    parser.add_argument(
        "--threads",
        type=threads_of,
        default=0,
        metavar="N",
        help="number of CPU threads; auto (the default): OMP_NUM_THREADS, else the fastest is measured",
    )


def threads_of(text: str) -> int:
    """The number of threads in an argument, 0 for `auto`. Raises ArgumentTypeError."""
    if text.lower() == "auto":
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"a number of threads up to {MOST_THREADS}, or auto, not {text!r}")
    return int(text)


def folders_of(options: argparse.Namespace, roots: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The model folders: of the job, of the options, the bundled model's, CtrlGen's and the Hub's cache.

    Raises HostError.
    """
    from lib_ctrlgen.models.bundled import bundled_folders
    from lib_ctrlgen.models.places import shared_places

    return (*roots, *model_roots(options.models), *bundled_folders(), *shared_places())


class ModelCheck:
    """Checks the model names of requests against the model folders, without importing torch."""

    def __init__(self, folders: Sequence[Path]) -> None:
        from lib_ctrlgen.models.model_files import ModelFiles

        self.files = ModelFiles(folders)
        self.found: set[tuple[str, str]] = set()

    def require(self, request: GenerationRequest) -> None:
        """Raise RequestError for a model that does not exist."""
        from lib_ctrlgen.request.used_models import used_models

        for path, name in used_models(request):
            if (path, name) not in self.found:
                with at_path(path):
                    self.files.find_checkpoint(name) if path == "$.model" else self.files.find(name)
                self.found.add((path, name))


def engine_of(options: argparse.Namespace, roots: Sequence[Path]) -> Engine:
    """An engine over the model folders of the options and the job."""
    folders = folders_of(options, roots)
    if options.tokenizer is not None:
        require_folder(options.tokenizer, "the tokenizer folder")
    from lib_ctrlgen.headless.checkpoints.load import Place
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.models.bundled import bundled_tokenizer

    place = Place.best(options.tokenizer or bundled_tokenizer())
    weights = weight_roots(options.models)
    disk = map_cache_of(options)
    return Engine(folders, place=place, threads=options.threads, weights=weights, disk=disk)


def out_of(options: argparse.Namespace) -> Path:
    """The folder for a job's output."""
    return Path(options.out or Path("ctrlgen-out") / options.job.stem)


def model_roots(given: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of `--models`, then those of CTRLGEN_MODELS. Raises HostError for a missing one.

    A WebUI's folder stands for the model folders in it.
    """
    from lib_ctrlgen.models.places import is_webui, places_of_webui

    listed = [Path(name) for name in os.environ.get("CTRLGEN_MODELS", "").split(os.pathsep) if name]
    roots = tuple(expanded(path) for path in (*given, *listed))
    for path in roots:
        require_folder(path, "the model folder")
    return tuple(
        folder for path in roots for folder in (places_of_webui(path).models if is_webui(path) else (path,))
    )


def weight_roots(given: Sequence[Path]) -> tuple[Path, ...]:
    """The folders that the WebUIs among the model folders name for the weights of preprocessors."""
    from lib_ctrlgen.models.places import is_webui, places_of_webui

    return tuple(folder for path in given if is_webui(path) for folder in places_of_webui(path).weights)


def require_folder(path: Path, what: str) -> None:
    """Raise HostError where a folder that a user named does not exist."""
    if not path.is_dir():
        raise HostError(f"{what} {path} {'is not a folder' if path.exists() else 'does not exist'}")


def program() -> str:
    """The command to start this program from the current folder: `ctrlgen`, or its path."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{quoted(nearby(Path(sys.executable)))} -m lib_ctrlgen"
    if called.stem != "ctrlgen" or which("ctrlgen") == which(str(called)):
        return "ctrlgen"
    return quoted(nearby(called))


def nearby(path: Path) -> str:
    """The path relative to the current folder, if it is inside it."""
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def next_commands() -> list[str]:
    """Commands to try after the demo, as text that can be pasted."""
    examples = Path(__file__).resolve().parents[2] / "examples"
    if not (examples / "stacked.yaml").is_file():
        return []
    tries = (
        ("plan", "scheduled.yaml", ""),
        ("run", "stacked.yaml", " --out pictures"),
        ("tune", "tune.yaml", ""),
    )
    lines = [f"    {program()} {name} {quoted(nearby(examples / job))}{more}" for name, job, more in tries]
    return ["Next:", *lines]


@contextmanager
def bar(title: str, unit: str = "step") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields a function `report(done, total)`."""
    from tqdm import tqdm

    screen = SafeStderr(sys.stderr)
    interval = 0.1 if screen.isatty() else 5.0
    with tqdm(
        desc=title, unit=unit, file=screen, dynamic_ncols=True, mininterval=interval, delay=0.1
    ) as progress_bar:

        def report(done: int, total: int) -> None:
            progress_bar.total = total
            progress_bar.update(done - progress_bar.n)

        yield report
