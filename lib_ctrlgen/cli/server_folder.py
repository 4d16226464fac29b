"""The folder for the files of a job on a server: which job was sent from it, and where its files go."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.numbering import NUMBERED, numbered

NOTE = ".ctrlgen-sent.json"
DRAFTS = ".ctrlgen-fetched"  # files that are fetched, until all of them are there
JOB = "job.json"
TEXTS = {".json", ".yaml", ".html"}


@dataclass(frozen=True, kw_only=True)
class SentJob:
    """The job that is sent from a folder, and the key by which a server knows it again.

    is_known  whether the same job was sent before and its files were not fetched
    """

    folder: Path
    kind: str
    server: str
    digest: str
    key: str
    is_known: bool

    @classmethod
    def of(cls, folder: Path, server: str, kind: str, content: Mapping[str, Any]) -> SentJob:
        """The note in a folder if it is of the same job, else a new one with another key."""
        text = json.dumps([kind, content], sort_keys=True, default=str)
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            known = json.loads((folder / NOTE).read_text("utf-8"))
            same = known["server"] == server and known["digest"] == digest
            key = str(known["key"]) if same else ""
        except (OSError, ValueError, KeyError, TypeError):
            key = ""
        return cls(
            folder=folder,
            kind=kind,
            server=server,
            digest=digest,
            key=key or token_hex(16),
            is_known=bool(key),
        )

    @property
    def drafts(self) -> Path:
        """The hidden folder for files that are being fetched."""
        return self.folder / DRAFTS / self.key

    def keep(self) -> None:
        """Write the note. Raises HostError."""
        content = {"server": self.server, "digest": self.digest, "key": self.key}
        save_text(json.dumps(content) + "\n", self.folder / NOTE)

    def forget(self) -> None:
        """Remove the note, and what was fetched in part: the job has ended."""
        (self.folder / NOTE).unlink(missing_ok=True)
        shutil.rmtree(self.folder / DRAFTS, ignore_errors=True)

    def placed(self, files: Sequence[Path]) -> dict[str, Path]:
        """Move fetched files into the folder; returns them by their names on the server.

        Pictures of a request get the next numbers of the folder, as with `ctrlgen run`; files of a tuner's
        job and of a story replace those of the same name.
        """
        names = [path.relative_to(self.drafts).as_posix() for path in files]
        if self.kind != "run":
            return {name: self._moved(name, name) for name in names}
        with numbered(self.folder) as first:
            new = {name: renumbered(name, first) for name in names}
            for path in files:
                if first and path.suffix in TEXTS:
                    save_text(with_names(path.read_text("utf-8"), new), path)
            return {name: self._moved(name, new[name]) for name in names}

    def _moved(self, name: str, new: str) -> Path:
        target = self.folder / new
        target.parent.mkdir(parents=True, exist_ok=True)
        return (self.drafts / name).replace(target)


def renumbered(name: str, first: int) -> str:
    """The name of a picture, or of a file that belongs to it, with its number raised.

    >>> renumbered("00002-7.png", 5), renumbered("job.json", 5)
    ('00007-7.png', '00005-job.json')
    """
    found = NUMBERED.match(name)
    if found is None:
        return f"{first:05}-{JOB}" if name == JOB else name
    return f"{int(found[1]) + first:05}{name[found.end(1) :]}"


def with_names(text: str, new: Mapping[str, str]) -> str:
    """A text in which names of files are replaced."""
    pattern = "|".join(re.escape(name) for name in sorted(new, key=len, reverse=True))
    return re.sub(rf'(?<=")(?:{pattern})(?=")', lambda found: new[found[0]], text)
