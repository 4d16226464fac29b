"""Turns answers of `ctrlgen serve` that are not the wanted ones into typed errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from .errors import LoginError, NotAServerError, RefusedError, ServerError, WebUIError
from .failures import message_of

PASSING = frozenset({502, 503, 504})  # a proxy whose server starts, or a server that cannot answer now
TOO_MANY = 429


def json_of(url: str, answer: requests.Response) -> Any:
    """The JSON of an answer. Raises as `require_success`, and NotAServerError for other content."""
    require_success(url, answer)
    try:
        return answer.json()
    except ValueError as error:
        raise NotAServerError(url, "answers with something else than JSON: check the address") from error


def require_success(url: str, answer: requests.Response) -> None:
    """Raise LoginError, RefusedError, ServerError or NotAServerError for a status that is no success."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    if status == 401:
        raise LoginError(url, "the token is missing, or not valid any more")
    if status == TOO_MANY or status >= 500:
        raise ServerError(url, status, message_of(answer))
    said = _detail(answer)
    if not {"path", "message"} <= said.keys():
        raise NotAServerError(url, f"answers {status}, unlike `ctrlgen serve`: check the address")
    raise RefusedError(str(said["path"]), str(said["message"]), status)


def is_passing(error: WebUIError) -> bool:
    """Whether the same call may succeed a little later: no connection, no answer, a restart."""
    if isinstance(error, ServerError):
        return error.http_status in PASSING
    return not isinstance(error, (LoginError, NotAServerError))


def _detail(answer: requests.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, Mapping) else {}
