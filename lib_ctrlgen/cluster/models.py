"""Makes model files available to workers: in the same folders, or sent through Ray's object store."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.headless.engine import find_model
from lib_ctrlgen.models.scan import walk
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import parts_of
from lib_ctrlgen.request.names import SUFFIXES
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.request.used_models import used_models

from .options import ModelTransfer

MISSING_FOLDER = (
    "the model folder {folder} is not on the node {node}: mount it there, or use --ray-models ship"
)
CONFIG_SUFFIXES = (".json", ".yaml", ".yml", ".txt", ".model")  # configurations and tokenizers


class Models(Protocol):
    """The model folders of a run, for a worker on any node."""

    def local_folders(self) -> tuple[Path, ...]:
        """The paths of the folders on the node that calls this. Raises HostError."""

    def local_name(self, name: str) -> str:
        """The name of a model on the node that calls this; only names that are paths change."""


@dataclass(frozen=True, kw_only=True)
class SharedModels:
    """Model folders that exist on every node under the same path."""

    folders: tuple[str, ...]

    def local_folders(self) -> tuple[Path, ...]:
        """The folders. Raises HostError that names the folder that is missing, and the node."""
        for folder in self.folders:
            if not Path(folder).is_dir():
                raise HostError(MISSING_FOLDER.format(folder=folder, node=platform.node()))
        return tuple(map(Path, self.folders))

    def local_name(self, name: str) -> str:
        """The name, unchanged."""
        return name


@dataclass(frozen=True, kw_only=True)
class SentFile:
    """A file in Ray's object store.

    folder: the number of its model folder; path: its path in there; content: the reference to its bytes.
    """

    folder: int
    path: str
    content: Any
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ShippedModels:
    """Model folders whose files are in Ray's object store; each node writes the files that it lacks."""

    folders: tuple[str, ...]
    files: tuple[SentFile, ...]

    def local_folders(self) -> tuple[Path, ...]:
        """The complete folders on this node. Raises HostError where the files cannot be written."""
        try:
            for file in self.files:
                write_file(file, self.base / str(file.folder) / file.path)
        except OSError as error:
            raise HostError(f"cannot write the models into {self.base}: {error.strerror or error}") from error
        return tuple(self.base / str(number) for number in range(len(self.folders)))

    @property
    def base(self) -> Path:
        """The folder for these files on a node; the same files always have the same folder."""
        text = "\n".join(f"{file.folder}/{file.path} {file.sha256}" for file in self.files)
        return private_folder() / hashlib.sha256(text.encode()).hexdigest()[:16]

    def local_name(self, name: str) -> str:
        """A path in one of the folders as the path on this node; other names are unchanged."""
        for number, folder in enumerate(self.folders):
            if PurePath(name).is_absolute() and PurePath(name).is_relative_to(folder):
                return str(self.base / str(number) / PurePath(name).relative_to(folder))
        return name


def models_for(way: ModelTransfer, folders: Sequence[Path], requests: Iterable[ControlRequest]) -> Models:
    """The model folders for workers; with "ship", the files that the requests need are sent."""
    names = tuple(str(folder.resolve()) for folder in folders)
    if way == "path":
        return SharedModels(folders=names)
    found = needed([Path(name) for name in names], model_names(requests))
    return ShippedModels(
        folders=names, files=tuple(put_file(number, path, Path(names[number])) for number, path in found)
    )


def model_names(requests: Iterable[ControlRequest]) -> set[str]:
    """The names of all models that the requests use."""
    return {name for request in requests for _, name in used_models(request)} - {""}


def needed(folders: Sequence[Path], names: Iterable[str]) -> Iterator[tuple[int, Path]]:
    """The files to send, each with its folder's number.

    Of checkpoints and controls only those that are named; all encoders, tokenizers and configurations.
    """
    store = ModelStore(folders, 0)
    wanted: set[Path] = set()
    for name in names:
        with suppress(ModelError):  # it may be in the bundled folder, which every installation has
            wanted |= files_of(find_model(store, name))
        with suppress(ModelError):  # a control can also be a component of a diffusers pipeline
            wanted |= files_of(store.resolve(name))
    others = {file for name in store.names() for file in files_of(store.resolve(name))} - wanted
    for number, folder in enumerate(folders):
        files = [path for path in walk(folder) if path.suffix.lower() in (*SUFFIXES, *CONFIG_SUFFIXES)]
        closed = {path.parent.resolve() for path in files if path.name == "model_index.json"} - wanted
        for path in files:
            above = set(path.resolve().parents)
            if above & wanted or (path.resolve() not in others and not above & closed):
                yield number, path


def files_of(model: Path) -> set[Path]:
    """The file or folder of a model, and all shards that exist."""
    with suppress(ModelError):
        return {model.resolve(), *(part.resolve() for part in parts_of(model))}
    return {model.resolve()}


def put_file(folder: int, path: Path, root: Path) -> SentFile:
    """Put a file into the object store, once for all nodes."""
    import ray

    content = np.fromfile(path, np.uint8)
    digest = hashlib.sha256(content.tobytes()).hexdigest()
    inside = path.relative_to(root).as_posix()
    return SentFile(folder=folder, path=inside, content=ray.put(content), sha256=digest, size=len(content))


def write_file(file: SentFile, target: Path) -> None:
    """Fetch a file unless it exists; it is renamed to `target` when it is complete. Raises OSError."""
    import ray

    if target.is_file() and target.stat().st_size == file.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(ray.get(file.content).data)
    Path(part).replace(target)


def private_folder() -> Path:
    """A folder in the temporary folder that other users cannot write to. Raises HostError."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"ctrlgen-models-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise HostError(f"{folder} belongs to another user: remove it, or set TMPDIR")
    return folder


def with_local_names(payload: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """A request as JSON types, with the names that its models have on this node."""

    def called(part: Any) -> Any:
        has = isinstance(part, Mapping) and isinstance(part.get("model"), str)
        return {**part, "model": models.local_name(part["model"])} if has else part

    made = called(payload) | {"units": [called(unit) for unit in payload.get("units") or ()]}
    return {**made, "blend": called(made.get("blend"))}
