"""Turns answers that are not the wanted ones into typed errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from lib_ctrlgen.errors import CtrlGenError

from .errors import LoginError, NotAWebUIError, NotInstalledError, RefusedError, ServerError

OURS = "/ctrlgen/"
PROBE = "/sdapi/v1/progress?skip_current_image=true"
LONGEST = 500  # characters of an answer in an error's message
NO_SCRIPT = "always on script ctrlgen not found"


def require_success(url: str, answer: requests.Response, is_webui: Callable[[], bool]) -> None:
    """Raise the error of an answer whose status is no success; `is_webui` looks for the WebUI's own API.

    Raises LoginError, RefusedError, NotAWebUIError, NotInstalledError or ServerError.
    """
    status = answer.status_code
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise LoginError(url, "needs a login, or knows another one: user and password of --api-auth")
    if status in (404, 405):
        raise _missing(url, answer, is_webui)
    if 300 <= status < 400:
        target = answer.headers.get("Location", "another address")
        raise NotAWebUIError(url, f"sends to {target}: give the address that is meant")
    if status >= 500 or status == 429:
        raise ServerError(url, status, message_of(answer))
    raise refusal(url, answer)


def json_of(url: str, answer: requests.Response) -> Any:
    """The JSON of an answer. Raises NotAWebUIError for any other content, such as a login page."""
    try:
        return answer.json()
    except ValueError as error:
        kind = answer.headers.get("Content-Type", "something else")
        raise NotAWebUIError(url, f"answers with {kind} instead of JSON: this is no WebUI's API") from error


def is_webui(answer: requests.Response) -> bool:
    """Whether this is a WebUI's answer to `PROBE`, or its demand for a login."""
    if answer.status_code == 401:
        return True
    body = _body(answer)
    return bool(answer.status_code == 200 and isinstance(body, Mapping) and "state" in body)


def refusal(url: str, answer: requests.Response) -> CtrlGenError:
    """The error in an answer with a status such as 422: CtrlGen's, FastAPI's or the WebUI's own."""
    detail = _detail(answer)
    status = answer.status_code
    if isinstance(detail, str) and detail.lower() == NO_SCRIPT:
        return NotInstalledError(url, "this WebUI has no CtrlGen: install the extension there")
    if isinstance(detail, Mapping) and {"path", "message"} <= detail.keys():
        return RefusedError(str(detail["path"]), str(detail["message"]), status)
    if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):  # FastAPI's
        return RefusedError(_path(detail[0].get("loc")), str(detail[0].get("msg", "is not accepted")), status)
    return RefusedError("", message_of(answer), status)


def message_of(answer: requests.Response) -> str:
    """What an answer says of a failure, in one line: the WebUI's `detail` or `errors`, else its text."""
    body = _body(answer)
    if isinstance(body, Mapping):
        said = next((body[name] for name in ("detail", "errors", "error") if body.get(name)), "")
        text = str(said.get("message", said)) if isinstance(said, Mapping) else str(said)
    else:
        text = answer.text if body is None and _is_text(answer) else ""
    return " ".join(text.split())[:LONGEST] or answer.reason or "no reason"


def _missing(url: str, answer: requests.Response, is_webui: Callable[[], bool]) -> CtrlGenError:
    """The error for a route that is not there, or for a thing on a route that is there."""
    detail = _detail(answer)
    if detail not in (None, "Not Found", "Method Not Allowed"):
        return RefusedError("", message_of(answer), answer.status_code)
    if OURS in answer.url and is_webui():
        return NotInstalledError(
            url, "this WebUI has no CtrlGen (install it there), an older one, or is still starting"
        )
    return NotAWebUIError(url, "has no API of a WebUI: start it with --api, or correct the address")


def _path(places: Any) -> str:
    """The JSON path of FastAPI's `loc`, such as `["body", "steps"]`."""
    parts: Sequence[Any] = places[1:] if isinstance(places, list) else ()
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _detail(answer: requests.Response) -> Any:
    body = _body(answer)
    return body.get("detail") if isinstance(body, Mapping) else None


def _body(answer: requests.Response) -> Any:
    """The JSON of an answer, None for any other content."""
    try:
        return answer.json()
    except ValueError:
        return None


def _is_text(answer: requests.Response) -> bool:
    return str(answer.headers.get("Content-Type", "")).startswith("text/plain")
