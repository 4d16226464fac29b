"""Finds embeddings in prompts as the WebUI does: by the tokens of their files' names, the longest first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.models.scan import EMBEDDINGS, walk
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stamp

from .file import EmbeddingFile, load_embedding

SUFFIXES = (".safetensors", ".pt", ".bin")
PICTURES = (".png", ".webp", ".jxl", ".avif")
PICTURE_KEY = "sd-ti-embedding"  # of the WebUI's embeddings that are saved in a PNG
HASH = 12  # digits of a hash in an infotext


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundEmbedding:
    """An embedding that a prompt names; `length` is the number of tokens that its name takes there."""

    name: str
    path: Path
    file: EmbeddingFile
    length: int

    @property
    def key(self) -> Hashable:
        """Identifies the content of its file."""
        return stamp(self.path)


@dataclass(eq=False)
class Embeddings:
    """The embeddings in the folders `embeddings` of a store, for one checkpoint.

    tokenize  turns a text into tokens, as the prompt is
    widths    the width of the token embeddings of each text encoder
    used      names and hashes of the embeddings that were found, as infotexts record them
    unfit     names that were found, but are for another checkpoint family; they are read as words
    """

    store: ModelStore
    tokenize: Callable[[str], Sequence[int]]
    widths: tuple[int, ...]
    used: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)

    def at(self, tokens: Sequence[int], place: int) -> FoundEmbedding | None:
        """The embedding whose name begins at a place among tokens. Raises ModelError for a broken file."""
        for ids, path in self._by_token.get(tokens[place], ()):
            if tuple(tokens[place : place + len(ids)]) == ids:
                found = self._fitting(path)
                if found is not None:
                    return FoundEmbedding(name=path.stem, path=path, file=found, length=len(ids))
        return None

    @cached_property
    def _by_token(self) -> dict[int, list[tuple[tuple[int, ...], Path]]]:
        """Names as tokens with their files, by the first token; the longest first."""
        found: dict[int, list[tuple[tuple[int, ...], Path]]] = {}
        for path in embedding_files(self.store.files):
            ids = tuple(self.tokenize(path.stem))
            if ids and min(ids) >= 0:  # below 0: the word of an embedding that is being trained
                found.setdefault(ids[0], []).append((ids, path))
        return {first: sorted(each, key=lambda pair: -len(pair[0])) for first, each in found.items()}

    def _fitting(self, path: Path) -> EmbeddingFile | None:
        """An embedding, None for one for another checkpoint family."""
        if path.suffix.lower() in PICTURES:
            raise ModelError(
                f"the embedding '{path.stem}' is a picture ({path.name}), which is not supported: convert it "
                "to .safetensors"
            )
        found = self.store.get(path, load_embedding)
        if found.widths != self.widths:
            own, wanted = ("+".join(map(str, each)) for each in (found.widths, self.widths))
            self.unfit[path.stem] = f"its vectors have width {own}, the checkpoint's {wanted}"
            return None
        name = path.stem.translate(str.maketrans("", "", ":,"))
        self.used[name] = self.store.files.sha256(path)[:HASH]
        return found


def embedding_files(files: ModelFiles) -> list[Path]:
    """The embeddings in the folders named `embeddings`, by name; of two files with one name the first."""
    found: dict[str, Path] = {}
    for path in (path for folder in embedding_folders(files) for path in walk(folder)):
        if path.suffix.lower() in SUFFIXES or _is_embedding_picture(path):
            found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found, key=str.lower)]


def embedding_folders(files: ModelFiles) -> list[Path]:
    """The folders named `embeddings`: the roots, those directly below them, and those with known files."""
    roots = [folder for root in files.roots for folder in (root, root / EMBEDDINGS) if folder.is_dir()]
    known = [parent for file in files.all() if file.shared for parent in file.path.parents]
    return list(dict.fromkeys(folder for folder in (*roots, *known) if folder.name.lower() == EMBEDDINGS))


def _is_embedding_picture(path: Path) -> bool:
    """Whether a file is a picture with an embedding of the WebUI in its text."""
    if path.suffix.lower() not in PICTURES or path.stem.lower().endswith(".preview"):
        return False
    try:
        with Image.open(path) as picture:
            return PICTURE_KEY in picture.info
    except OSError:
        return False
