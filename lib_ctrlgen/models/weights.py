"""Finds the weights of preprocessors in the places where users already have them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib_ctrlgen.errors import ModelError, nearest, quoted
from lib_ctrlgen.files import expanded

from .hub_cache import cached_file, hub_cache, snapshots
from .published import WEIGHTS, Published, named, published_files
from .scan import walk
from .weight_files import sha256

PLACE = "ControlNetPreprocessor"  # the folder of Forge's preprocessors, which we share
OLD_PLACE = Path("annotator", "downloads")  # in the folder of sd-webui-controlnet, beside its `models`
CONTROLS = frozenset({"controlnet", "ctrlgen"})  # folders of a WebUI's `models`, in lower case
PACKAGE = Path(__file__).resolve().parents[1]
UNKNOWN_PROGRAM = (
    "{file} is a TorchScript program, which can do anything when it is loaded. This version of CtrlGen does "
    "not know the SHA-256 of the published file, so it loads no file of this name: {users} cannot run"
)


def find_weights(name: str, folders: Sequence[Path]) -> Path:
    """The file with a preprocessor's weights: `name` is its name in the table of published files.

    It is searched in `folders` (see `weight_folders`), which may have subfolders, then in the cache of the
    Hugging Face Hub; nothing is downloaded. Of several files the first one of the published size is taken,
    else the first one: somebody's own weights, or an incomplete download, at which the reader fails. Raises
    ModelError that says where to put the file and which command downloads it, also for a TorchScript program
    that is not the published one.
    """
    entry = named(name)
    if entry is None or entry.kind != WEIGHTS:
        known = [each.title for each in published_files() if each.kind == WEIGHTS]
        raise ModelError(f"no preprocessor has weights named {name!r}; {nearest(name, known)}")
    if entry.program and not entry.sha256:
        raise ModelError(UNKNOWN_PROGRAM.format(file=entry.file, users=" and ".join(entry.preprocessors)))
    first: Path | None = None
    for path in _candidates(entry, folders):
        if entry.bytes in {0, path.stat().st_size}:
            return _checked(entry, path)
        first = first or path
    if first is None:
        raise ModelError(missing(entry, folders))
    return _checked(entry, first)


def find_weight_folder(repo: str, folders: Sequence[Path]) -> Path:
    """The folder of a transformers or diffusers model `OWNER/NAME`, with its config.json.

    It is searched as `OWNER/NAME` and as `NAME` in `folders`, then in the cache of the Hugging Face Hub.
    Raises ModelError.
    """
    name = repo.rpartition("/")[2]
    inside = [folder / part for folder in folders for part in (repo, name)]
    for folder in (*inside, *snapshots(repo, hub_cache())):
        if (folder / "config.json").is_file():
            return folder
    entry = named(name)
    if entry is not None and entry.repo == repo:
        raise ModelError(missing(entry, folders))
    place = next(iter(folders), own_folder() / PLACE) / repo
    raise ModelError(
        f"the model {repo} is missing: put the files of https://huggingface.co/{repo} (config.json, the "
        f"weights, preprocessor_config.json) into {place}"
    )


def has_weights(entry: Published, folders: Sequence[Path]) -> bool:
    """Whether a file of this name is where `find_weights` searches."""
    return next(_candidates(entry, folders), None) is not None


def weight_folders(roots: Sequence[Path], more: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The folders in which preprocessors' weights are searched; the first one is where new files go.

    roots  the model folders; the bundled model's and the Hub's cache do not count
    more   folders that the user named for such weights, which come first
    """
    own = [root for root in roots if root != hub_cache() and PACKAGE not in root.resolve().parents]
    beside = [root.parent / PLACE for root in own if root.name.lower() in CONTROLS]  # in a WebUI's `models`
    inside = [root / PLACE for root in own]
    old = [root.parent / OLD_PLACE for root in own if root.name == "models"]
    return tuple(dict.fromkeys([*more, *beside, own_folder() / PLACE, *inside, *old, *own]))


def own_folder() -> Path:
    """CtrlGen's folder for files of no WebUI: CTRLGEN_CACHE, else `ctrlgen` in the user's cache folder."""
    given = os.environ.get("CTRLGEN_CACHE")
    above = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return expanded(given or Path(above) / "ctrlgen")


def missing(entry: Published, folders: Sequence[Path]) -> str:
    """What to do about missing weights: where they go, what downloads them, where they are published."""
    folder = next(iter(folders), own_folder() / PLACE)
    users = f", for {', '.join(entry.preprocessors)}" if entry.preprocessors else ""
    what, where, at = ("the file", folder, entry.address)
    if entry.folder:
        what, where, at = ", ".join((entry.file, *entry.beside)), folder / entry.folder, entry.page
    return (
        f"the weights {entry.title} ({entry.purpose}{users}) are missing: put {what} into {where}, or run: "
        f"{get_command(entry, folder)}; published at {at}"
    )


def get_command(entry: Published, folder: Path) -> str:
    """The command that downloads a file into a folder."""
    return f"{command_line()} models get {entry.title} --folder {quoted(str(folder))} --yes"


def command_line() -> str:
    """The beginning of a command of CtrlGen, for messages: `ctrlgen`, or its Python and folder."""
    program = "ctrlgen"
    return program if shutil.which(program) else f"{quoted(sys.executable)} {quoted(str(PACKAGE.parent))}"


def _candidates(entry: Published, folders: Sequence[Path]) -> Iterator[Path]:
    """Every file of this name: directly in the folders, then deeper in them, then in the Hub's cache."""
    direct = [folder / entry.file for folder in folders]
    yield from (path for path in direct if path.is_file())
    deeper = (path for folder in folders for path in walk(folder) if path.name == entry.file)
    yield from (path for path in deeper if path not in direct)
    cached = cached_file(entry.repo, entry.path_in_repo, hub_cache()) if entry.repo else None
    if cached is not None:
        yield cached


def _checked(entry: Published, path: Path) -> Path:
    """The path, if the file is no program or the published one. Raises ModelError."""
    if entry.program and sha256(path) != entry.sha256:
        raise ModelError(
            f"{path} is a TorchScript program, which can do anything when it is loaded, and its SHA-256 is "
            f"not that of the published file ({entry.sha256})"
        )
    return path
