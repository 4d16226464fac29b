"""Searches a model folder once: its model files with their names, its diffusers folders, its pipelines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lib_ctrlgen.request.names import SUFFIXES, last_part, printable

from .hub_cache import is_hub_cache, snapshots_of_controls
from .weight_files import stem_of

WEIGHT_NAMES = ("diffusion_pytorch_model", "model", "pytorch_model", "text_projection")
PIPELINE = "model_index.json"  # of a diffusers folder that holds a whole checkpoint
CONFIG = "config.json"  # of a diffusers or transformers model
ENDS = (*SUFFIXES, ".json")
EMBEDDINGS = "embeddings"
SIDE_FOLDERS = frozenset({EMBEDDINGS, "lora", "loras", "lycoris"})


@dataclass(frozen=True)
class ModelFile:
    """A model: its name in the model list, and its file, or the folder of a diffusers pipeline (`whole`).

    `shared`: it is in the Hub's cache, or in a folder of LoRAs or embeddings, where the name of a model is
    looked for only if it means nothing elsewhere.
    """

    name: str
    path: Path
    whole: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Found:
    """What is in a model folder.

    files      the model files, without text and vision encoders
    pipelines  the folders of whole checkpoints
    folders    the folders with a config.json
    """

    files: tuple[ModelFile, ...] = ()
    pipelines: tuple[ModelFile, ...] = ()
    folders: tuple[ModelFile, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(self.files + other.files, self.pipelines + other.pipelines, self.folders + other.folders)


def search(root: Path) -> Found:
    """What is below a model folder; of the Hub's cache, the repositories that look like controls."""
    if not is_hub_cache(root):
        own = _search(root)
        return replace(
            own, files=tuple(replace(file, shared=in_side_folder(file, root)) for file in own.files)
        )
    found = Found()
    for repo, snapshot in snapshots_of_controls(root):
        inside = _search(snapshot, repo)
        if any(pipeline.path == snapshot for pipeline in inside.pipelines):
            inside = Found((), inside.pipelines[:1], ())  # a whole checkpoint: its parts are no controls
        found += inside
    parts = (found.files, found.pipelines, found.folders)
    return Found(*(tuple(replace(each, shared=True) for each in part) for part in parts))


def in_side_folder(file: ModelFile, root: Path) -> bool:
    """Whether a file below a root is in a folder for LoRAs or embeddings."""
    inside = file.path.parent.relative_to(root).parts
    return any(part.lower() in SIDE_FOLDERS for part in (root.name, *inside))


def _search(root: Path, prefix: str = "") -> Found:
    """What is below a folder; names begin with `prefix`."""
    networks: dict[str, list[Path]] = {}  # the forms of a diffusers network, by the folder's name
    single: dict[str, list[Path]] = {}
    pipelines, folders = [], []
    for folder, names in folders_below(root):
        inside = "/".join(filter(None, (prefix, _relative(folder, root))))
        own = ModelFile(inside or printable(root.name), Path(folder))
        pipelines += [replace(own, whole=True)] if PIPELINE in names else []
        folders += [own] if CONFIG in names else []
        for name in names:
            path = Path(folder, name)
            stem = stem_of(path) if name.lower().endswith(ENDS) else None
            if stem is None:
                continue
            of_folder = stem.lower().removesuffix(".fp16") in WEIGHT_NAMES
            if of_folder and stem.startswith("diffusion_"):
                networks.setdefault(own.name, []).append(path)
            elif not (of_folder and CONFIG in names):
                single.setdefault(f"{inside}/{printable(stem)}".removeprefix("/"), []).append(path)
    return Found(tuple(_models(networks, single)), tuple(pipelines), tuple(folders))


def _models(networks: dict[str, list[Path]], single: dict[str, list[Path]]) -> Iterator[ModelFile]:
    """One model for the forms of a network; files that differ in the suffix alone keep it in their names."""
    for name, paths in networks.items():
        yield ModelFile(name, min(paths, key=_worse))
    for name, paths in single.items():
        unique = len(paths) == 1 and name not in networks
        folder = name.removesuffix(last_part(name))
        yield from (ModelFile(name if unique else f"{folder}{printable(path.name)}", path) for path in paths)


def _worse(path: Path) -> tuple[bool, bool, str]:
    """A sort key for several files of one network: full precision first, safetensors first."""
    return ".fp16" in path.name, ".safetensors" not in path.name.lower(), path.name


def folders_below(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder below a root, and itself, with the sorted names of its files.

    Links to folders are followed, but each real folder is read once. Names that begin with a dot are left
    out: macOS adds such files to disks of other systems. Folders that cannot be read are left out, too.
    """
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield folder, sorted(name for name in names if not name.startswith("."))


def walk(root: Path) -> list[Path]:
    """All files below a root, sorted, as `folders_below` finds them."""
    return sorted(Path(folder, name) for folder, names in folders_below(root) for name in names)


def _relative(folder: str, root: Path) -> str:
    """A folder's path below the root with slashes, empty for the root itself."""
    relative = os.path.relpath(folder, root) if folder != str(root) else ""
    return printable(relative.replace(os.sep, "/")) if relative != "." else ""
