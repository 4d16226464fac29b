"""Calls of the REST API of one WebUI over HTTP, with timeouts, retries and typed errors.

A call is tried again only if nothing was done for it yet: no connection was made, or the server answered
429 or 503. It is never tried again once its body may have been received. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import sleep
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from lib_ctrlgen.errors import RequestError

from .errors import AnswerTimeoutError, ConnectionLostError, UnreachableError
from .failures import PROBE, is_webui, json_of, require_success

Login: TypeAlias = "tuple[str, str] | None"
BUSY = frozenset({429, 503})
LONGEST_PAUSE = 30.0  # seconds that a server may ask for before the next try
PAUSES = (0.5, 2.0)  # seconds before the second and the third try
JSON, BINARY = "application/json", "application/octet-stream"
OWN = "localhost,127.0.0.1,::1"  # no proxy for these
WRONG = "an address such as http://127.0.0.1:7860 is expected; in a password write / ? # @ as %2F %3F %23 %40"


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds until a call is given up.

    connect     to make a connection
    answer      from the request to each part of its answer
    generation  the same for calls that make pictures, which wait for their turn among other generations
    """

    connect: float = 10.0
    answer: float = 60.0
    generation: float = 3600.0

    @classmethod
    def of(cls, seconds: float | Timeouts) -> Timeouts:
        """The timeouts themselves, or a single number of seconds used for each of them."""
        if isinstance(seconds, Timeouts):
            return seconds
        return cls(connect=seconds, answer=seconds, generation=seconds)


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a WebUI without the login, and the login in it; the address may have a path."""

    url: str
    login: Login = field(default=None, repr=False)
    loopback: bool = False

    @classmethod
    def of(cls, text: str) -> Address:
        """The parts of an address, which may hold a login: `http://user:password@host`.

        Raises RequestError.
        """
        try:
            parts = urlsplit(text.strip() if "://" in text else f"http://{text.strip()}")
            port = f":{parts.port}" if parts.port else ""
        except ValueError as error:
            raise RequestError("", WRONG) from error  # the error's text may hold a part of a password
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise RequestError("", WRONG)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        url = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
        return cls(url=url, login=login, loopback=is_loopback(parts.hostname))


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is this machine's own."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Calls one WebUI. `tries` is the number of times that a call is begun at most; `pause` waits seconds."""

    address: Address
    timeouts: Timeouts = field(default_factory=Timeouts)
    tries: int = 1 + len(PAUSES)
    pause: Callable[[float], object] = sleep
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    @classmethod
    def to(cls, url: str, auth: Login = None, timeout: float | Timeouts | None = None) -> Connection:
        """A connection to the WebUI at an address; `auth` replaces the login in it. Raises RequestError.

        Proxies and certificates of the environment (HTTPS_PROXY, REQUESTS_CA_BUNDLE) are used as requests
        uses them, but no proxy for this machine itself.
        """
        address = Address.of(url)
        found = cls(address=address, timeouts=Timeouts.of(Timeouts() if timeout is None else timeout))
        login = auth or address.login
        if login is not None:  # as RFC 7617 has it
            found.session.auth = (login[0].encode("utf-8"), login[1].encode("utf-8"))
        return found

    @property
    def url(self) -> str:
        """The address without the login."""
        return self.address.url

    def again(self) -> Connection:
        """Another connection to the same WebUI, for another thread."""
        session = requests.Session()
        session.auth = self.session.auth
        return replace(self, session=session)

    def json(self, method: str, path: str, body: Any = None, *, timeout: float | None = None) -> Any:
        """The JSON of the answer to a call. Raises the errors of `lib_ctrlgen.client.errors`."""
        answer = self.answer(method, path, body, timeout=timeout)
        require_success(self.url, answer, self.is_webui)
        return json_of(self.url, answer)

    def content(self, path: str) -> bytes:
        """The content of the answer to a GET. Raises the errors of `lib_ctrlgen.client.errors`."""
        answer = self.answer("GET", path)
        require_success(self.url, answer, self.is_webui)
        return bytes(answer.content)

    def is_webui(self) -> bool:
        """Whether a WebUI serves its API at this address."""
        return is_webui(self.answer("GET", PROBE))

    def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer to a call, whatever its status. A body of bytes is sent as it is.

        Raises UnreachableError, ConnectionLostError or AnswerTimeoutError, and RequestError for a body that
        JSON cannot carry.
        """
        kind = BINARY if isinstance(body, bytes) else JSON
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        seconds = timeout or self.timeouts.answer
        for pause in (*PAUSES, None)[-self.tries :]:
            found = self._tried(method, path, data, kind, seconds, headers or {})
            wanted = None if pause is None else _wanted_pause(found, pause)
            if wanted is None:
                break
            self.pause(wanted)
        if isinstance(found, requests.RequestException):
            raise self._named(found) from found
        return found

    def _tried(self, *call: Any) -> requests.Response | requests.RequestException:
        """The answer to a call, or the exception in its place."""
        try:
            return self._once(*call)
        except requests.RequestException as error:
            return error

    def _once(
        self,
        method: str,
        path: str,
        data: bytes | None,
        kind: str,
        seconds: float,
        headers: Mapping[str, str],
    ) -> requests.Response:
        return self.session.request(
            method,
            self.url + path,
            data=data,
            headers={"Accept": JSON, **({} if data is None else {"Content-Type": kind}), **headers},
            timeout=(self.timeouts.connect, seconds),
            allow_redirects=False,
            proxies={"no_proxy": OWN} if self.address.loopback else {},
        )

    def _named(self, error: requests.RequestException) -> Exception:
        """The error of this module for one of requests."""
        unreachable = (requests.exceptions.SSLError, requests.exceptions.ProxyError)
        if nothing_was_sent(error) or isinstance(error, unreachable):
            return UnreachableError(self.url, f"no connection ({_reason(error)})")
        if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return RequestError("", WRONG)
        if isinstance(error, requests.Timeout) or any(isinstance(c, ReadTimeoutError) for c in causes(error)):
            return AnswerTimeoutError(self.url, "no answer in time: the request may still be carried out")
        return ConnectionLostError(
            self.url, f"the connection broke ({_reason(error)}): the request may have been carried out"
        )


def encoded(body: Any) -> bytes:
    """The JSON text of a body. Raises RequestError for what JSON cannot carry, such as NaN."""
    try:
        return json.dumps(body, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError("$", f"cannot be sent as JSON: {error}") from error


def nothing_was_sent(error: BaseException) -> bool:
    """Whether no connection was made, so that the server cannot have received anything."""
    if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ProxyError)):
        return False  # would be the same again
    return any(isinstance(each, (NewConnectionError, ConnectTimeoutError)) for each in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception of requests, and those of urllib3 that it was made of."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.append(each)
            yield each
            inner = (*each.args, getattr(each, "reason", None))
            waiting += [found for found in inner if isinstance(found, BaseException)]


def _reason(error: BaseException) -> str:
    """The innermost reason in a few words."""
    *_, last = causes(error)
    return (getattr(last, "strerror", None) or str(last) or type(last).__name__)[:200]


def _wanted_pause(found: requests.Response | requests.RequestException, usual: float) -> float | None:
    """The seconds until the next try of a call, None where it must not be tried again."""
    if isinstance(found, requests.RequestException):
        return usual if nothing_was_sent(found) else None
    if found.status_code not in BUSY:
        return None
    try:
        seconds = float(found.headers.get("Retry-After", usual))
    except ValueError:  # a date
        return usual
    return seconds if 0 <= seconds <= LONGEST_PAUSE else None
