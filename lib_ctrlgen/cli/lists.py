"""`ctrlgen preprocessors` and `ctrlgen models`, which list the names that jobs can use."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from lib_ctrlgen.errors import HostError, ModelError

from .common import Parser, add_model_folders, folders_of

if TYPE_CHECKING:
    from lib_ctrlgen.models.model_files import ModelFiles
    from lib_ctrlgen.request.params import Param


def add_lists(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands."""
    found = commands.add_parser("preprocessors", help="list the preprocessors and their parameters")
    found.set_defaults(command=preprocessors_command)
    models = commands.add_parser("models", help="list the models in the model folders: name, hash and kind")
    add_model_folders(models)
    models.set_defaults(command=models_command)


def preprocessors_command(_options: argparse.Namespace) -> None:
    """`ctrlgen preprocessors`."""
    from lib_ctrlgen.preprocessors import params_of, preprocessors

    width = max(len(each.name) for each in preprocessors())
    for each in preprocessors():
        print(f"{each.name:<{width}}  {each.title}")
        for param in params_of(each):
            print(f"{'':<{width}}    {param.name}: {param_range(param)}")


def param_range(param: Param) -> str:
    """The values that a parameter takes, and its default."""
    if param.kind in {"int", "float"}:
        low, high = ("" if end is None else f"{end:g}" for end in (param.minimum, param.maximum))
        values = f"{low}..{high}" + ("" if param.off is None else f" or {param.off:g}")
    else:
        values = " | ".join(param.choices) or {"bool": "true | false"}.get(param.kind, param.kind)
    return values if param.default == "" else f"{values} (default {param.default})"


def models_command(options: argparse.Namespace) -> None:
    """`ctrlgen models`."""
    folders = folders_of(options)
    rows = list(model_rows(folders))
    if not rows:
        places = ", ".join(map(str, folders)) or "none"
        raise HostError(f"no models in the model folders ({places}): name a folder with --models FOLDER")
    width = max(len(label) for label, _ in rows)
    for label, kind in rows:
        print(f"{label:<{width}}  {kind}")


def model_rows(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Name with hash, and kind, of every model; the error of a file that cannot be read."""
    from lib_ctrlgen.models.model_files import ModelFiles

    files = ModelFiles(folders)
    every = {file.name: file.path for file in reversed(files.checkpoints())}
    for name, path in sorted(every.items()):
        yield _row(name, path, files)


def _row(name: str, path: Path, files: ModelFiles) -> tuple[str, str]:
    from lib_ctrlgen.headless.listing import kind_of_model

    try:
        with catch_warnings():  # torch warns about the protocol of pickles
            simplefilter("ignore")
            return files.label(path), kind_of_model(path)
    except ModelError as error:
        return name, f"? {error}"
