"""Who sends a request: by the token in its header, or by the session of a browser that logged in with one.

A session is kept in memory and ends with the server, after some hours, or when its token ends.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from time import monotonic
from typing import Any

from fastapi import Request

from lib_ctrlgen.errors import CtrlGenError, HostError

from .users import User, UsersFile

COOKIE = "ctrlgen_session"
SESSION_SECONDS = 12 * 3600.0
MOST_SESSIONS = 10_000
BEARER = "bearer "
NO_TOKEN = "send the header 'Authorization: Bearer TOKEN' with a token of `ctrlgen serve --add-user NAME`"


class NotAllowedError(CtrlGenError):
    """The request has no token, or one that is not valid."""

    status = HTTPStatus.UNAUTHORIZED


class UnavailableError(CtrlGenError):
    """The server cannot answer now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(frozen=True)
class Session:
    """A browser that logged in: its token, and when the session ends."""

    token: str
    end: float


class Access:
    """Finds the user of a request. Thread-safe."""

    def __init__(self, users: UsersFile) -> None:
        self.users = users
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()

    def user_of(self, token: str) -> User | None:
        """The user of a token. Raises UnavailableError where the file with the users cannot be read."""
        try:
            return self.users.user_of(token)
        except HostError as error:
            raise UnavailableError("the server cannot read its users: ask who runs it") from error

    def bearer(self, request: Request) -> User:
        """The user of the token in a request's header. Raises NotAllowedError."""
        header = str(request.headers.get("authorization", ""))
        if header[: len(BEARER)].lower() != BEARER:
            raise NotAllowedError(NO_TOKEN)
        user = self.user_of(header[len(BEARER) :].strip())
        if user is None:
            raise NotAllowedError("the token is not valid")
        return user

    def reader(self, request: Request) -> User:
        """The user of a request that changes nothing, by its token or session. Raises NotAllowedError."""
        if "authorization" not in request.headers and (user := self.session_user(request)) is not None:
            return user
        return self.bearer(request)

    def session_user(self, request: Any) -> User | None:
        """The user of a request's session, or None."""
        with self._lock:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
        if session is None or session.end < monotonic():
            return None
        return self.user_of(session.token)

    def named(self, name: str) -> User | None:
        """A user by name, for one whose session was found before; None if the user was removed."""
        try:
            entry = self.users.entries().get(name)
        except HostError as error:
            raise UnavailableError("the server cannot read its users: ask who runs it") from error
        return None if entry is None else User(name=name, role=entry.role)

    def open_session(self, token: str) -> str | None:
        """Begin a session; returns the value of its cookie, None for a token that is not valid."""
        if self.user_of(token) is None:
            return None
        value, now = secrets.token_urlsafe(32), monotonic()
        with self._lock:
            live = {key: each for key, each in self._sessions.items() if each.end >= now}
            self._sessions = dict(list(live.items())[-MOST_SESSIONS + 1 :])
            self._sessions[value] = Session(token, now + SESSION_SECONDS)
        return value

    def close_session(self, request: Request) -> None:
        """End the session of a request."""
        with self._lock:
            self._sessions.pop(request.cookies.get(COOKIE, ""), None)
