"""The files that hold a model's weights: one file, or the parts of a sharded one; and their hashes."""

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
    """The weights of a diffusers or transformers folder, or the index of its shards. Raises ModelError.

    Full precision comes before `.fp16`, safetensors before pickles.
    """
    kinds = [f"{suffix}{end}" for end in ("", ".index.json") for suffix in SUFFIXES]
    names = [f"{stem}{part}{kind}" for part in ("", ".fp16") for stem in stems for kind in kinds]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"'{folder.parent.name}/{folder.name}' holds no weights such as {names[0]}")
    return found


def stem_of(path: Path) -> str | None:
    """The name of a weight file without suffix, variant of an index or number of a shard.

    None for what is no model by its name, and for every shard but the one that stands for all of them.
    """
    if match := INDEX.fullmatch(path.name):
        return match["stem"]
    if match := SHARD.fullmatch(path.name):
        return match["stem"] if _stands_for_all(path, match) else None
    return path.stem if path.suffix.lower() in SUFFIXES else None


def _stands_for_all(path: Path, shard: re.Match[str]) -> bool:
    """Whether a shard is the first one that is there, and no index is."""
    beside = sorted(other.name for other in path.parent.iterdir())
    shards = [name for name in beside if (m := SHARD.fullmatch(name)) and m["stem"] == shard["stem"]]
    indexed = any((m := INDEX.fullmatch(name)) and m["stem"] == shard["stem"] for name in beside)
    return not indexed and shards[0] == path.name


def parts_of(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors: the file itself, or all shards of an index or of a shard's model.

    Raises ModelError that names the shards which are missing.
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
    """The file names in an index. Raises ModelError, also for a name that leads out of the folder."""
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
    """Names a file, and changes when it or one of its shards does. Raises ModelError when it is gone."""
    try:
        real = path.resolve(strict=True)
        states = [part.stat() for part in dict.fromkeys((real, *parts_of(path)))]
    except OSError as error:
        raise ModelError(f"{path.name}: no such file") from error
    return str(real), *(value for state in states for value in (state.st_mtime_ns, state.st_size))


def hash8(path: Path) -> str:
    """The short hash that users know from model lists: SHA-256 of 64 KiB at 1 MiB, 8 hex digits."""
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
    """The hash that is recorded for a model, quick to compute: `hash8`, of several shards that of theirs.

    A file that ends before 1 MiB, all of which have the same `hash8`, gets 10 digits of its SHA-256.
    """
    hashes = [
        hash8(part) if part.stat().st_size > HASHED_AT else sha256(part)[:10] for part in parts_of(path)
    ]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:8]
