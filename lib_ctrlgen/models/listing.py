"""The models in the model folders as rows of a list: kind, base, size, hash and purpose of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from warnings import catch_warnings, simplefilter

import msgspec

from lib_ctrlgen.errors import ModelError

from .hub_cache import cached_file, hub_cache
from .index import Facts, ModelIndex, recogniser
from .model_files import ModelFiles, hashed_file
from .published import WEIGHTS, Published, named, published_files
from .scan import ModelFile, folders_below
from .weight_files import short_hash


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file is, from its tensors.

    kind     the name of its control family, or `checkpoint`
    base     the checkpoint family that it fits (SD1.5, SD2, SDXL), or that it is
    variant  see `kind.ModelKind`
    """

    kind: str
    base: str = ""
    variant: str = ""


Describe: TypeAlias = Callable[[Path], Description]  # raises ModelError


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One model of the list.

    size       bytes of the file, of all shards together
    hash       see `weight_files.short_hash`; empty for a file that cannot be read
    error      why the file cannot be used; then `kind` is empty
    published  the published file that it is by its name, or None
    """

    name: str
    path: Path
    size: int = 0
    hash: str = ""
    kind: str = ""
    base: str = ""
    variant: str = ""
    error: str = ""
    published: Published | None = None

    @property
    def label(self) -> str:
        """`name [hash]`, as infotexts record it."""
        return f"{self.name} [{self.hash}]" if self.hash else self.name

    @property
    def purpose(self) -> str:
        """What the model is for; empty where only its publisher would know that."""
        return self.published.purpose if self.published else ""

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The model as texts: label, kind, base, size, and its purpose or what is wrong with it."""
        kind = " ".join(filter(None, (self.kind, self.variant)))
        return self.label, kind or "?", self.base, size_text(self.size), self.error or self.purpose


def size_text(size: int) -> str:
    """A number of bytes for people; `-` if it is not known."""
    if not size:
        return "-"
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def listed(files: ModelFiles, models: Iterable[ModelFile], describe: Describe) -> list[Listed]:
    """The models in the order of their names, described by `describe`; the index is saved after that.

    Of several models of one name the first is listed, because only that one is found by the name.
    """
    first = {file.name: file for file in reversed([*models])}
    state = recogniser()
    rows = [listed_model(files.index, file, describe, state) for _, file in sorted(first.items())]
    files.index.save()
    return rows


def listed_model(index: ModelIndex, model: ModelFile, describe: Describe, state: int) -> Listed:
    """One model as a row of the list; `state` is that of `index.recogniser`."""
    published = named(model.name)
    try:
        file = hashed_file(model.path) if model.whole else model.path
        facts = _with_hash(index, file)
    except ModelError as error:
        return Listed(name=model.name, path=model.path, error=str(error), published=published)
    if published and published.is_no_control:
        facts = msgspec.structs.replace(facts, kind=published.kind, base=published.base, error="", variant="")
    elif facts.recogniser != state:
        facts = index.note(file, facts, **_described(model.path, describe), recogniser=state)
    return Listed(
        name=model.name,
        path=model.path,
        size=facts.size,
        hash=facts.hash,
        kind=facts.kind,
        base=facts.base,
        variant=facts.variant,
        error=facts.error,
        published=published,
    )


def _with_hash(index: ModelIndex, file: Path) -> Facts:
    facts = index.facts(file)
    return facts if facts.hash else index.note(file, facts, hash=short_hash(file))


def _described(path: Path, describe: Describe) -> dict[str, str]:
    """The facts that say what a file is, or why that is not known."""
    try:
        with catch_warnings():  # torch warns about the protocol of pickles
            simplefilter("ignore")
            return {**vars(describe(path)), "error": ""}
    except ModelError as error:
        return {**vars(Description(kind="")), "error": str(error)}


def listed_weights(folders: Sequence[Path]) -> Iterator[Listed]:
    """The weights of preprocessors in some folders (see `weights.weight_folders`) or the Hub's cache."""
    known = {(each.folder, each.file): each for each in published_files() if each.kind == WEIGHTS}
    for folder in folders:
        for above, names in folders_below(folder):
            here = {(name, file) for file in names for name in ("", Path(above).name)}
            for key in known.keys() & here:
                yield _weights(Path(above, key[1]), known.pop(key))
    for entry in known.values():
        path = cached_file(entry.repo, entry.path_in_repo, hub_cache())
        if path is not None:
            yield _weights(path, entry)


def _weights(path: Path, entry: Published) -> Listed:
    return Listed(name=entry.title, path=path, size=path.stat().st_size, kind=WEIGHTS, published=entry)
