"""The results of a project: one folder per input, written whole or not at all, and never made twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder, save_text
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.lock import FolderLock

DRAFT, OLD = ".draft-", ".old-"  # hidden folders that are being written, or removed
RECORD = "result.json"
KEY = "key"


class Results:
    """The results in a folder, each in a folder of its name below `items`.

    Use it in a `with` block, which locks the folder for this process (raises FolderInUseError) and removes
    what a killed process left unfinished.
    """

    def __init__(self, out: Path, items: str) -> None:
        self.out, self.items = new_folder(out), out / items
        self.lock = FolderLock(out)

    def __enter__(self) -> Results:
        self.lock.__enter__()
        for path in [*self.items.glob(f"{DRAFT}*"), *self.items.glob(f"{OLD}*")]:
            shutil.rmtree(path, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.__exit__(kind, error, trace)

    def folder(self, name: str) -> Path:
        """The folder of a result."""
        return self.items / name

    def read(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a result that was made from equal inputs (JSON types); None if it is to be made."""
        try:
            record = json.loads((self.folder(name) / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        made = isinstance(record, dict) and record.get(KEY) == key_of(inputs)
        return record if made else None

    @contextmanager
    def writing(self, name: str, inputs: Mapping[str, Any], record: dict[str, Any]) -> Iterator[Path]:
        """A hidden folder for the files of a result, which gets the result's name when the block ends.

        `record` is written into it last, and may be filled in the block. A block that raises leaves the old
        result as it was. Raises HostError.
        """
        target = self.folder(name)
        draft = target.with_name(f"{DRAFT}{uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            yield draft
            text = json.dumps({KEY: key_of(inputs), **record}, indent=2, ensure_ascii=False)
            save_text(text + "\n", draft / RECORD)
            _replace(target, draft)
        except OSError as error:
            raise HostError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _replace(target: Path, draft: Path) -> None:
    """Put `draft` in the place of `target`."""
    old = target.with_name(f"{OLD}{uuid4().hex}")
    if target.exists():
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)
