"""The files that hold a model's weights (one file, or the shards of one model), and their hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.request.names import SUFFIXES

_ENDS = "|".join(re.escape(suffix) for suffix in SUFFIXES)
INDEX = re.compile(rf"(?P<stem>.+)(?P<suffix>{_ENDS})\.index(?:\.\w+)?\.json", re.IGNORECASE)
SHARD = re.compile(
    rf"(?P<stem>.+)-(?P<number>\d{{5}})-of-(?P<count>\d{{5}})(?P<suffix>{_ENDS})", re.IGNORECASE
)
HASHED_AT, HASHED_BYTES = 1 << 20, 1 << 16


def weights_in(folder: Path, *stems: str) -> Path:
    """The weight file in a diffusers or transformers folder, or the index of its shards.

    Full precision is preferred to `.fp16`, safetensors to pickles. Raises ModelError if there is none.
    """
    kinds = [f"{suffix}{end}" for end in ("", ".index.json") for suffix in SUFFIXES]
    names = [f"{stem}{part}{kind}" for part in ("", ".fp16") for stem in stems for kind in kinds]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"'{folder.parent.name}/{folder.name}' contains no weights such as {names[0]}")
    return found


def stem_of(path: Path) -> str | None:
    """The name of a weight file without its suffix, and without the number of a shard.

    None for files without the suffix of a model, and for all shards of a model except the one that represents
    it.
    """
    if match := INDEX.fullmatch(path.name):
        return match["stem"]
    if match := SHARD.fullmatch(path.name):
        return match["stem"] if _stands_for_all(path, match) else None
    return path.stem if path.suffix.lower() in SUFFIXES else None


def _stands_for_all(path: Path, shard: re.Match[str]) -> bool:
    """Whether a shard represents its model: there is no index, and no shard before it."""
    beside = sorted(other.name for other in path.parent.iterdir())
    shards = [name for name in beside if (m := SHARD.fullmatch(name)) and m["stem"] == shard["stem"]]
    indexed = any((m := INDEX.fullmatch(name)) and m["stem"] == shard["stem"] for name in beside)
    return not indexed and shards[0] == path.name


def parts_of(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors: the file itself, or all shards if it is an index or a shard.

    Raises ModelError that names the first missing shard.
    """
    if INDEX.fullmatch(path.name):
        names = _indexed(path)
    elif match := SHARD.fullmatch(path.name):
        count, width = int(match["count"]), len(match["count"])
        names = [
            f"{match['stem']}-{number:0{width}}-of-{match['count']}{match['suffix']}"
            for number in range(1, count + 1)
        ]
    else:
        return (path,)
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"{path.name}: {len(missing)} of its {len(names)} shards are missing, first {missing[0]}: "
            "download all files of the folder"
        )
    return tuple(path.parent / name for name in names)


def _indexed(path: Path) -> list[str]:
    """The file names in an index. Raises ModelError, also for a name outside of the index's folder."""
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        names = sorted(set(content["weight_map"].values()))
        plain = bool(names) and all(Path(name).name == name for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path.name} is no index of shards: {' '.join(str(error).split())[:120]}"
        ) from error
    if not plain:
        raise ModelError(
            f"{path.name} is no index of shards: its weight_map must name files of its own folder"
        )
    return names


def stamp(path: Path) -> tuple[Hashable, ...]:
    """A key that changes with the file or one of its shards. Raises ModelError if it is missing."""
    try:
        real = path.resolve(strict=True)
        states = [part.stat() for part in dict.fromkeys((real, *parts_of(path)))]
    except OSError as error:
        raise ModelError(f"{path.name}: no such file") from error
    return str(real), *(value for state in states for value in (state.st_mtime_ns, state.st_size))


def hash8(path: Path) -> str:
    """The WebUI's old short hash of models: 8 hex digits of the SHA-256 of 64 KiB at 1 MiB."""
    try:
        with path.open("rb") as file:
            file.seek(HASHED_AT)
            return hashlib.sha256(file.read(HASHED_BYTES)).hexdigest()[:8]
    except OSError as error:
        raise _unreadable(path, error) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a whole file, 64 hex digits; the WebUI shows its first 10. Raises ModelError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(HASHED_AT):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path.name}: {error.strerror if path.exists() else 'no such file'}")


def short_hash(path: Path) -> str:
    """The hash that infotexts record for a model, which is quick to compute.

    It is `hash8`, or for shards a hash of their hashes. A file that ends before 1 MiB gets 10 digits of its
    SHA-256 instead, because all such files have the same `hash8`.
    """
    hashes = [
        hash8(part) if part.stat().st_size > HASHED_AT else sha256(part)[:10] for part in parts_of(path)
    ]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:8]
