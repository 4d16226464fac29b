"""What was made in a folder of results, also what later runs replaced: one folder for each picture.

A picture's folder has the name of its key, which is the hash of all that it depends on, so that a picture is
in the history once, however often it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import whole_path
from lib_ctrlgen.projects.results import DRAFT, KEY, RECORD
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.spec import parse_request

from .environments import Environment
from .picture import PICTURE
from .settings import ProductSettings

HISTORY, THUMBNAIL = "history", "thumbnail.webp"
SIDE = 256  # pixels of a thumbnail


class Entry(Spec, frozen=True, kw_only=True):
    """A picture of the history.

    folder       where its files are
    made         when, in ISO format
    environment  None, like `settings`, for a picture of a version that did not keep them
    """

    folder: str
    made: str
    prompt: str
    likeness: float
    seed: int
    settings: ProductSettings | None = None
    environment: Environment | None = None

    @property
    def thumbnail(self) -> Path:
        """The small picture, or the picture itself."""
        small = Path(self.folder) / THUMBNAIL
        return small if small.is_file() else Path(self.folder) / PICTURE


def keep(out: Path, result: Path) -> None:
    """Keep the files of a result in the history, unless they are there. Hard links where they can be made.

    Raises HostError.
    """
    record = _record(result)
    if record is None or not record.get("adapter", True):
        return
    target = out / HISTORY / str(record[KEY])
    if target.is_dir():
        return
    draft = target.with_name(f"{DRAFT}{uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        for file in result.iterdir():
            _link(file, draft / file.name)
        save_thumbnail(draft)
        draft.rename(target)
    except OSError as error:
        raise HostError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def keep_all(out: Path, items: str) -> None:
    """Keep all results of a folder that no process writes, also those of a killed process."""
    for draft in (out / HISTORY).glob(f"{DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    for result in sorted((out / items).glob("[!.]*")):
        keep(out, result)


def save_thumbnail(folder: Path) -> None:
    """Write the small picture of a result into its folder. Raises HostError."""
    with Image.open(folder / PICTURE) as picture, whole_path(folder / THUMBNAIL) as part:
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(part, format="WEBP", quality=85)


def entries(out: Path) -> list[Entry]:
    """The pictures of the history, the newest first."""
    found = [each for folder in (out / HISTORY).glob("[!.]*") for each in _entry(folder)]
    return sorted(found, key=lambda each: each.made, reverse=True)


def _entry(folder: Path) -> Iterator[Entry]:
    record = _record(folder)
    if record is None or not (folder / PICTURE).is_file():
        return
    fields = {name: record[name] for name in ("prompt", "likeness", "seed")}
    own = {"folder": str(folder), "made": record.get("made", "")}
    known = {"settings": record.get("settings"), "environment": record.get("place")}
    try:
        yield parse_request({**own, **fields, **known}, Entry)
    except RequestError:  # settings of another version
        yield parse_request({**own, **fields}, Entry)


def _record(folder: Path) -> dict[str, Any] | None:
    """The record of a result; None if there is none."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and KEY in found else None


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without hard links
        shutil.copy2(file, target)
