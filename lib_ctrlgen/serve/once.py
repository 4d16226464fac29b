"""Jobs that are sent twice, because an answer was lost, and queued once: by a key that the client makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.server_answers import KEY_HEADER

KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, kw_only=True)
class Once:
    """A key of a client, and the hash of what it has sent with it."""

    key: str
    digest: str

    def require_same(self, digest: str) -> None:
        """Raise RequestError if something else was sent with the key before."""
        if digest != self.digest:
            message = f"another job was sent with the {KEY_HEADER} {self.key!r}: a new job has a new key"
            raise RequestError("", message)


def once_of(headers: Mapping[str, str], text: bytes, files: Mapping[str, bytes]) -> Once | None:
    """The key in a request's headers with the hash of its content; None without one. Raises RequestError."""
    key = headers.get(KEY_HEADER)
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise RequestError("", f"{KEY_HEADER} has 1 to 255 visible ASCII characters")
    parts = [text, *(part for name in sorted(files) for part in (name.encode(), files[name]))]
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Once(key=key, digest=digest.hexdigest())
