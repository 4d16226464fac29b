"""Lists the model files in folders, computes their hashes, and finds the file that a name means."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from lib_ctrlgen.errors import ModelError, nearest
from lib_ctrlgen.request.names import last_part, listed, matching, printable, several, split_hash

from .weight_files import hash8, sha256, short_hash, stamp, stem_of, weights_in

WEIGHT_NAMES = ("diffusion_pytorch_model", "model", "pytorch_model", "text_projection")
PIPELINE = "model_index.json"  # the file that a diffusers folder with a whole checkpoint has


@dataclass(frozen=True)
class ModelFile:
    """A model: its name in the model list, and its file (a folder for a diffusers pipeline)."""

    name: str
    path: Path


class ModelFiles:
    """The models in some root folders. Thread-safe.

    A name is a path relative to the root, without suffix unless two files of one folder differ in the suffix
    alone. If two roots have a file of the same name, the file of the earlier root is used.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self._lock = RLock()
        self._found: tuple[tuple[ModelFile, ...], tuple[ModelFile, ...]] | None = None
        self._hashes: dict[Hashable, str] = {}

    def refresh(self) -> None:
        """Search the folders again."""
        with self._lock:
            self._found = None

    def all(self) -> tuple[ModelFile, ...]:
        """Every model file, root by root; a name may occur in several roots."""
        return self._look()[0]

    def checkpoints(self) -> tuple[ModelFile, ...]:
        """Every model file, with each diffusers pipeline as one model instead of its parts."""
        return self._look()[1]

    def _look(self) -> tuple[tuple[ModelFile, ...], tuple[ModelFile, ...]]:
        with self._lock:
            if self._found is None:
                files = tuple(file for root in self.roots for file in _scan(root))
                folders = {
                    path.parent: root for root in self.roots for path in walk(root) if path.name == PIPELINE
                }
                pipelines = [ModelFile(_relative(folder, root), folder) for folder, root in folders.items()]
                others = [file for file in files if not folders.keys() & set(file.path.parents)]
                self._found = files, (*pipelines, *others)
            return self._found

    def names(self) -> list[str]:
        """The names of all model files, sorted."""
        return sorted({file.name for file in self.all()})

    def find(self, text: str) -> Path:
        """The model file that a name means, see `request.names.matching`; a hash `[...]` after it is checked.

        An absolute path is accepted only inside a root. Raises ModelError if several files fit or none, or if
        no file that fits has the hash; the error lists names.
        """
        return self._find(text, self.all)

    def find_checkpoint(self, text: str) -> Path:
        """The checkpoint that a name means, as `find`; a diffusers pipeline counts as one model."""
        return self._find(text, self.checkpoints)

    def _find(self, text: str, known: Callable[[], Sequence[ModelFile]]) -> Path:
        """Choose a file; if none is found, search the folders again first. Raises ModelError."""
        try:
            return self.choose(text, known())
        except ModelError:
            self.refresh()
            return self.choose(text, known())

    def choose(self, text: str, files: Sequence[ModelFile], what: str = "model") -> Path:
        """The file among `files` that a name means, as in `find`; `what` names their kind in errors."""
        names = list(dict.fromkeys(file.name for file in files))
        name, digest = (text, "") if text in names else split_hash(text)
        if Path(name).is_absolute():
            found = [ModelFile(name, self._inside(Path(name)))]
        else:
            wanted = set(matching(name, names))
            found = [file for file in files if file.name in wanted]
        if digest:
            found = self._hashed(text, digest, found, files)
        first = _distinct({file.name: file for file in reversed(found)}.values())
        if not first:
            raise ModelError(f"no {what} named {text!r}; {nearest(name, names)}")
        if len(first) > 1 and not digest:  # with one hash they have the same content
            raise ModelError(several(text, [file.name for file in first], what))
        return first[0].path

    def _hashed(
        self, text: str, digest: str, found: list[ModelFile], files: Sequence[ModelFile]
    ) -> list[ModelFile]:
        """The files of `found` that have this hash; if `found` is empty, all files that have it."""
        if not found:
            return [file for file in files if self.hash(file.path) == digest]
        fitting = [file for file in found if self.has_hash(file.path, digest)]
        if not fitting:
            have = listed([f"{file.name} [{self.hash(file.path)}]" for file in found])
            raise ModelError(
                f"the hash in {text!r} is not that of the file: there is {have}; "
                "get the file with that hash, or leave the hash out"
            )
        return fitting

    def _inside(self, path: Path) -> Path:
        real = path.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in self.roots):
            raise ModelError(f"{path} is outside the model folders: give a name from the model list")
        if not (real.is_file() or (real / PIPELINE).is_file()):
            raise ModelError(f"{path}: no such file")
        return Path(os.path.abspath(path))  # noqa: PTH100 - a link's own name tells what it is

    def has_hash(self, path: Path, digest: str) -> bool:
        """Whether a file has this hash: `short_hash`, `hash8`, or the first digits of its SHA-256."""
        short = (self._hash(path, kind) for kind in (short_hash, hash8))
        return digest in short or self._hash(path, sha256).startswith(digest)

    def hash(self, path: Path) -> str:
        """A model's short hash, cached until the file changes. Raises ModelError."""
        return self._hash(path, short_hash)

    def _hash(self, path: Path, kind: Callable[[Path], str]) -> str:
        """One kind of hash, cached; the hash of a pipeline is that of its U-Net."""
        file = weights_in(path / "unet", "diffusion_pytorch_model") if path.is_dir() else path
        key = (kind, *stamp(file))
        if key not in self._hashes:
            self._hashes[key] = kind(file)
        return self._hashes[key]

    def name(self, path: Path) -> str:
        """A file's name in the model list, or its stem if it is not listed; a link has a name of its own."""
        real = path.resolve()
        names = {file.path: file.name for file in self.all() if file.path.resolve() == real}
        return names.get(path) or next(iter(names.values()), printable(path.stem))

    def label(self, path: Path) -> str:
        """A model's name and hash, `name [hash]`, as infotexts record it. Raises ModelError."""
        return f"{self.name(path)} [{self.hash(path)}]"

    def labels(self) -> list[str]:
        """The labels of all models, in the order of `names`; that of an unreadable file is only its name."""
        found = []
        for name in self.names():
            with suppress(ModelError):
                found.append(self.label(self.find(name)))
                continue
            found.append(name)
        return found

    def folders(self) -> dict[str, Path]:
        """Folders with a config.json (diffusers and transformers models), by relative name."""
        found = [
            (_relative(config.parent, root), config.parent)
            for root in self.roots
            for config in walk(root)
            if config.name == "config.json"
        ]
        return dict(reversed(found))


def _distinct(files: Iterable[ModelFile]) -> list[ModelFile]:
    """The files, without further links to the same file."""
    return list({file.path.resolve(): file for file in files}.values())


def _scan(root: Path) -> Iterator[ModelFile]:
    """Model files under a root, sorted; text and vision encoders are left out."""
    networks: dict[str, list[Path]] = {}  # diffusers folders
    single: dict[str, list[Path]] = {}
    for path in walk(root):
        stem = stem_of(path)
        if stem is None:
            continue
        folder_model = stem.lower().removesuffix(".fp16") in WEIGHT_NAMES
        if folder_model and stem.startswith("diffusion_"):
            networks.setdefault(_relative(path.parent, root), []).append(path)
        elif not (folder_model and (path.parent / "config.json").is_file()):
            folder = _relative(path.parent, root) if path.parent != root else ""
            single.setdefault(f"{folder}/{printable(stem)}".removeprefix("/"), []).append(path)
    for name, paths in networks.items():  # the forms of one network are one model
        yield ModelFile(name, min(paths, key=_worse))
    for name, paths in single.items():
        unique = len(paths) == 1 and name not in networks
        folder = name.removesuffix(last_part(name))
        yield from (ModelFile(name if unique else f"{folder}{printable(path.name)}", path) for path in paths)


def _worse(path: Path) -> tuple[bool, bool, str]:
    """A sort key for several files of one network: full precision first, safetensors first."""
    return ".fp16" in path.name, ".safetensors" not in path.name.lower(), path.name


def walk(root: Path) -> list[Path]:
    """All files below a root, sorted. Links to folders are followed, but each real folder is read once.

    Names that begin with a dot are left out: macOS adds such files to disks of other systems.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        inner[:] = [name for name in inner if not name.startswith(".") and real not in seen]
        found += [Path(folder, name) for name in names if not name.startswith(".") and real not in seen]
        seen.add(real)
    return sorted(found)


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return printable(path.name if relative == "." else relative)
