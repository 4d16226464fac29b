"""What several commands share: options, the engine, a progress bar. Heavy imports wait until used."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lib_ctrlgen.errors import HostError

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine

FAILURE = 2


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr and leave with code 2."""
        self.exit(FAILURE, f"{self.prog}: error: {message} (try {self.prog} --help)\n")


def add_job(parser: Parser) -> None:
    """The job file, and changes to it."""
    parser.add_argument("job", type=Path, help="job file, YAML or JSON (see ctrlgen schema)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value of the job, such as units.0.weight=0.5 (repeatable)",
    )


def add_models(parser: Parser) -> None:
    """Where pictures go, and where models lie."""
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


def bundled() -> tuple[Path, ...]:
    """The bundled model's folder, if this installation has it: a job may do without."""
    from lib_ctrlgen.tiny import tiny_folder

    with suppress(HostError):
        return (tiny_folder(),)
    return ()


def engine_of(options: argparse.Namespace, roots: Sequence[Path]) -> Engine:
    """The engine over a job's own folders, those of the options, and the bundled model's."""
    tiny = bundled()
    folders = (*roots, *model_roots(options.models), *tiny)
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.headless.load import Place

    tokenizer = options.tokenizer or next((folder / "text" for folder in tiny), None)
    return Engine(folders, place=Place.best(tokenizer))


def out_of(options: argparse.Namespace) -> Path:
    """Where a job's files go."""
    return Path(options.out or Path("ctrlgen-out") / options.job.stem)


def model_roots(given: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of `--models`, then those of CTRLGEN_MODELS. Raises HostError for one that is not there."""
    listed = [Path(name) for name in os.environ.get("CTRLGEN_MODELS", "").split(os.pathsep) if name]
    roots = tuple(path.expanduser() for path in (*given, *listed))
    missing = next((path for path in roots if not path.is_dir()), None)
    if missing is not None:
        raise HostError(f"the model folder {missing} is not there")
    return roots


@contextmanager
def bar(title: str, unit: str = "step") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields `tell(done, total)`."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 5.0
    with tqdm(desc=title, unit=unit, dynamic_ncols=True, mininterval=interval, delay=0.1) as shown:

        def tell(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield tell
