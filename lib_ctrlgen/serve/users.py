"""The users of a server and the hashes of their tokens, in a YAML file that only its owner can read.

A token is 256 random bits, so one SHA-256 protects it: there is nothing to guess, and no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, TypeAlias

import msgspec
from filelock import FileLock
from msgspec import Meta, Struct

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import whole_path
from lib_ctrlgen.headless.job_text import parse_yaml, yaml_text

Role: TypeAlias = Literal["user", "admin"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
NAME_RULE = (
    "a name has 1 to 32 letters, digits, dots, dashes and underscores and begins with a letter or digit"
)
OPEN_TO_OTHERS = 0o077
PRIVATE = 0o600
HEAD = "# The users of `ctrlgen serve`. Tokens are SHA-256 hashes; add users with --add-user NAME.\n"


class UserEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user in the file.

    token_sha256  the SHA-256 of the token, 64 hex digits
    role          an admin sees and cancels the jobs of all users
    """

    token_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    role: Role = "user"


class _Content(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    users: dict[str, UserEntry] = {}


@dataclass(frozen=True, kw_only=True)
class User:
    """Who sent a request."""

    name: str
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether the user sees the jobs of all users."""
        return self.role == "admin"


class UsersFile:
    """The file with all users. A change of the file acts at once, also on a running server. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._read: tuple[tuple[int, int, int], Mapping[str, UserEntry]] | None = None

    def entries(self) -> Mapping[str, UserEntry]:
        """The users by name. Raises HostError where the file is missing, wrong or open to others."""
        with self._lock:
            try:
                found = self.path.stat()
            except OSError as error:
                advice = "add a user with `ctrlgen serve --add-user NAME`"
                raise HostError(f"no users in {self.path} ({error.strerror or error}): {advice}") from error
            require_private(self.path, found.st_mode)
            state = found.st_mtime_ns, found.st_size, found.st_ino
            if self._read is None or self._read[0] != state:
                self._read = state, read_entries(self.path)
            return self._read[1]

    def user_of(self, token: str) -> User | None:
        """The user with this token, or None.

        Hashes are compared in constant time, and all of them, so the time says nothing about them. Raises
        HostError as `entries` does.
        """
        digest, found = hash_of(token), None
        for name, entry in self.entries().items():
            if hmac.compare_digest(entry.token_sha256, digest):
                found = User(name=name, role=entry.role)
        return found

    def add(self, name: str, role: Role = "user", *, replace: bool = False) -> str:
        """Add a user, and return the new token, which is stored nowhere.

        With `replace`, an existing user gets a new token and role, and the old token ends. Raises HostError
        for a name that is taken or not allowed, and as `entries` does.
        """
        if NAME.fullmatch(name) is None:
            raise HostError(f"{name!r} is no name for a user: {NAME_RULE}")
        token = secrets.token_urlsafe(32)
        with FileLock(self._lock_file()):
            users = dict(self.entries()) if self.path.exists() else {}
            if name in users and not replace:
                raise HostError(
                    f"there is a user {name!r} already: with --new-token, the user gets a new token"
                )
            users[name] = UserEntry(token_sha256=hash_of(token), role=role)
            self._write(users)
        return token

    def remove(self, name: str) -> None:
        """Remove a user, whose token ends at once; the jobs stay. Raises HostError for an unknown name."""
        with FileLock(self._lock_file()):
            users = dict(self.entries())
            if users.pop(name, None) is None:
                raise HostError(f"there is no user {name!r} in {self.path}")
            self._write(users)

    def _lock_file(self) -> str:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return str(self.path.with_name(f".{self.path.name}.lock"))

    def _write(self, users: Mapping[str, UserEntry]) -> None:
        content = HEAD + yaml_text({"users": msgspec.to_builtins(dict(users))})
        with whole_path(self.path) as part, os.fdopen(new_private(part), "wb") as stream:
            stream.write(content.encode())
            stream.flush()
            os.fsync(stream.fileno())


def new_private(path: Path) -> int:
    """The descriptor of a new file that only its owner can read, from its first byte on. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)


def hash_of(token: str) -> str:
    """The SHA-256 of a token as 64 hex digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def require_private(path: Path, mode: int) -> None:
    """Raise HostError for a file that other users of the machine can read or change."""
    if os.name == "posix" and mode & OPEN_TO_OTHERS:
        raise HostError(f"{path} is open to other users of this machine: run `chmod 600 {path}`")


def read_entries(path: Path) -> Mapping[str, UserEntry]:
    """The users in a file. Raises HostError that says what is wrong in it."""
    try:
        content = parse_yaml(path.read_text("utf-8"), str(path))
        users = msgspec.convert(content or {}, _Content).users
    except RequestError as error:
        raise HostError(str(error)) from error
    except (OSError, ValueError) as error:
        raise HostError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if wrong := next((name for name in users if NAME.fullmatch(name) is None), None):
        raise HostError(f"{path}: {wrong!r} is no name for a user: {NAME_RULE}")
    return users
