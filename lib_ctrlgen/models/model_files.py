"""Lists the model files in folders, computes their hashes, and finds the file that a name means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock

from lib_ctrlgen.errors import ModelError, WrongModelError, nearest
from lib_ctrlgen.request.names import listed, matching, printable, several, split_hash

from .index import ModelIndex
from .scan import PIPELINE, Found, ModelFile, search
from .weight_files import hash8, sha256, short_hash, weights_in


class ModelFiles:
    """The models in some root folders. Thread-safe.

    A name is a path relative to the root, without suffix unless two files of one folder differ in the suffix
    alone. If two roots have a file of the same name, the file of the earlier root is used.
    """

    def __init__(self, roots: Sequence[Path], index: ModelIndex | None = None) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self.index = index or ModelIndex()
        self._lock = RLock()
        self._found: tuple[tuple[ModelFile, ...], tuple[ModelFile, ...]] | None = None

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
                found = sum((search(root) for root in self.roots), start=Found())
                inside = {pipeline.path for pipeline in found.pipelines}
                others = [file for file in found.files if not (inside and inside & set(file.path.parents))]
                pipelines = {file.path: file for file in reversed(found.pipelines)}
                self._found = found.files, (*reversed(pipelines.values()), *others)
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
        shared = {file.name for file in files if file.shared}
        if shared and split_hash(text)[0] not in shared:
            with suppress(ModelError):
                return self._choose(text, [file for file in files if not file.shared], what)
        return self._choose(text, files, what)

    def _choose(self, text: str, files: Sequence[ModelFile], what: str) -> Path:
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
            raise WrongModelError(f"no {what} named {text!r}; {nearest(name, names)}")
        if len(first) > 1 and not digest:  # with one hash they have the same content
            raise ModelError(several(text, [file.name for file in first], what))
        return first[0].path

    def _hashed(
        self, text: str, digest: str, found: list[ModelFile], files: Sequence[ModelFile]
    ) -> list[ModelFile]:
        """The files of `found` that have this hash; if `found` is empty, all files that have it."""
        if not found:
            return [file for file in files if self._short(file.path) == digest]
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
        file = hashed_file(path)
        short = digest in {
            self.index.computed(file, "hash", short_hash),
            self.index.computed(file, "hash8", hash8),
        }
        return short or self.sha256(file).startswith(digest)

    def hash(self, path: Path) -> str:
        """A model's short hash, cached until the file changes. Raises ModelError."""
        return self.index.computed(hashed_file(path), "hash", short_hash)

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a whole file, cached until the file changes. Raises ModelError."""
        return self.index.computed(path, "sha256", sha256)

    def name(self, path: Path) -> str:
        """A file's name in the model list, or its stem if it is not listed; a link has a name of its own."""
        real = path.resolve()
        names = {file.path: file.name for file in self.all() if file.path.resolve() == real}
        return names.get(path) or next(iter(names.values()), printable(path.stem))

    def label(self, path: Path) -> str:
        """A model's name and hash, `name [hash]`, as infotexts record it. Raises ModelError."""
        return f"{self.name(path)} [{self.hash(path)}]"

    def labels(self) -> list[str]:
        """The labels of all models, in the order of `names`; an unreadable file has its name alone."""
        first = {file.name: file.path for file in reversed(self.all())}
        hashes = {name: self._short(path) for name, path in first.items()}
        return [f"{name} [{digest}]" if digest else name for name, digest in sorted(hashes.items())]

    def _short(self, path: Path) -> str:
        """A model's short hash; empty for one that cannot be read."""
        try:
            return self.hash(path)
        except ModelError:
            return ""

    def folders(self) -> dict[str, Path]:
        """Folders with a config.json (diffusers and transformers models), by relative name."""
        found = [folder for root in self.roots for folder in search(root).folders]
        return {folder.name: folder.path for folder in reversed(found)}


def hashed_file(path: Path) -> Path:
    """The file whose hash is a model's: that of a pipeline is its U-Net's."""
    return weights_in(path / "unet", "diffusion_pytorch_model") if path.is_dir() else path


def _distinct(files: Iterable[ModelFile]) -> list[ModelFile]:
    """The files, without further links to the same file."""
    return list({file.path.resolve(): file for file in files}.values())
