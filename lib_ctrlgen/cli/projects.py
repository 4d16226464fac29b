"""What the commands of whole projects share: `ctrlgen blueprint`, `product` and `story`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import expanded

from .common import bar, program
from .output import SafeStderr

UNITS = {"sheets": "sheet", "training": "step"}  # of progress bars; else pictures
MOST_DRAWN = 1000


def command_line() -> str:
    """The command that this program was started with, for a message that says how to go on."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def absolute_model(model: str) -> str:
    """The model's name; the path of a file or a folder is made absolute, so that job files find it."""
    path = expanded(model)
    return str(path.resolve()) if os.sep in model and path.exists() else model


def model_folder(model: str) -> tuple[Path, ...]:
    """The folder of a checkpoint that is named by its path, as a model folder."""
    path = expanded(model)
    return (path.resolve().parent,) if os.sep in model and path.exists() else ()


def require_drawable(count: int, folder: Path) -> None:
    """Raise RequestError unless `--draw` can draw `count` examples into the folder, which is new or empty."""
    if not 1 <= count <= MOST_DRAWN:
        raise RequestError("", f"--draw takes a number from 1 to {MOST_DRAWN}, not {count}")
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError("", f"--draw: {folder} has files: name a new or an empty folder")


@contextmanager
def errors_at_options(names: Mapping[str, str]) -> Iterator[None]:
    """Raise an error of a settings' field as one of its option; `names` has the options named otherwise."""
    try:
        yield
    except RequestError as error:
        name = error.path.removeprefix("$.")
        raise RequestError(f"--{names.get(name, name)}", error.message) from error


def say(line: str) -> None:
    """Print a line of the run to stderr, above the progress bar."""
    from tqdm import tqdm

    tqdm.write(f"ctrlgen: {line}", file=SafeStderr(sys.stderr))


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each phase of a run; yields a function `progress(phase, done, total)`."""
    with ExitStack() as stack:
        opened: dict[str, Callable[[int, int], None]] = {}

        def progress(phase: str, done: int, total: int) -> None:
            if phase not in opened:
                stack.close()
                opened[phase] = stack.enter_context(bar(phase, UNITS.get(phase, "picture")))
            opened[phase](done, total)

        yield progress
