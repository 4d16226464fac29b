"""Errors that a WebUI or a server answers, and errors of the connection to it.

They say whether the request may have been carried out.
"""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.errors import HostError, RequestError


class WebUIError(HostError):
    """Base of the errors of a WebUI, a server and the connection; `url` is its address without the login."""

    def __init__(self, url: str, message: str) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url
        self.given: tuple[Any, ...] = (url, message)

    def __reduce__(self) -> tuple[type[WebUIError], tuple[Any, ...]]:
        return type(self), self.given


class UnreachableError(WebUIError):
    """No connection could be made (address, network, TLS, proxy), so nothing was sent."""


class ConnectionLostError(WebUIError):
    """The connection broke after the request was begun: it may have been carried out."""


class AnswerTimeoutError(WebUIError):
    """No answer came in time: the request may still be carried out."""


class LoginError(WebUIError):
    """The WebUI needs a login, or knows another one; a server does not know the token."""


class NotAWebUIError(WebUIError):
    """What answers at this address is not the REST API of a WebUI."""


class NotAServerError(WebUIError):
    """What answers at this address is not `ctrlgen serve`."""


class NotInstalledError(WebUIError):
    """The WebUI has no CtrlGen, or one without this route."""


class ServerError(WebUIError):
    """The WebUI or server failed, or is too busy (429, 503); `http_status` is the status of its answer."""

    def __init__(self, url: str, http_status: int, message: str) -> None:
        super().__init__(url, f"the server answers {http_status}: {message}")
        self.http_status = http_status
        self.given = (url, http_status, message)


class RefusedError(RequestError):
    """The WebUI or server refused the request: `path` and `message` are its own.

    The path is empty where the answer names none; `http_status` is the status of the answer.
    """

    def __init__(self, path: str, message: str, http_status: int = 422) -> None:
        super().__init__(path, message)
        self.http_status = http_status


__all__ = [
    "AnswerTimeoutError",
    "ConnectionLostError",
    "LoginError",
    "NotAServerError",
    "NotAWebUIError",
    "NotInstalledError",
    "RefusedError",
    "ServerError",
    "UnreachableError",
    "WebUIError",
]
