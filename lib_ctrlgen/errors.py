"""The errors that CtrlGen raises. Every failure of a request is one of these and says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from http import HTTPStatus
from pathlib import Path


def sendable(text: str) -> str:
    """The text with escapes for lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class CtrlGenError(Exception):
    """Base of all errors that CtrlGen raises on purpose.

    `status_code` and `detail` are instance attributes because the WebUI's REST API reads
    `vars(error)`: it answers with that HTTP status and that detail.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str) -> None:
        message = sendable(message)
        super().__init__(message)
        self.status_code = self.status.value
        self.detail: object = message


class RequestError(CtrlGenError, ValueError):
    """The request is wrong: `path` is the JSON path of the place, `message` says why and what to do."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, path: str, message: str) -> None:
        path, message = sendable(path), sendable(message)
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
        self.detail = {"path": path, "message": message}

    def __reduce__(self) -> tuple[type[RequestError], tuple[str, str]]:
        return type(self), (self.path, self.message)


class UnknownFieldError(RequestError):
    """The request has a field of a name that there is not."""


class ModelError(CtrlGenError):
    """A model file is missing, broken, of an unknown kind or for another checkpoint family."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class WrongModelError(ModelError):
    """A model file is missing or for another checkpoint family, so that another one has to be chosen."""


class StoppedError(CtrlGenError):
    """The user interrupted the generation, or skipped its pictures, before the first step."""


class HostError(CtrlGenError):
    """The host (the WebUI or the headless engine) is in a state in which a control cannot be applied."""


@contextmanager
def at_path(path: str) -> Iterator[None]:
    """Turn a `ModelError`, or a `RequestError` without a place, into a `RequestError` at `path`."""
    try:
        yield
    except RequestError as error:
        if error.path:
            raise
        raise RequestError(path, error.message) from error
    except ModelError as error:
        raise RequestError(path, str(error)) from error


@contextmanager
def below(path: str) -> Iterator[None]:
    """Prefix the path of a `RequestError`: `$.x` becomes `path.x`."""
    try:
        yield
    except RequestError as error:
        raise RequestError(f"{path}{error.path.removeprefix('$')}", error.message) from error


def nearest(name: str, known: Iterable[str], count: int = 5) -> str:
    """The known names that are nearest to `name`, as the end of an error message."""
    names = sorted(known)
    if not names:
        return "there are none"
    folded = {item.lower(): item for item in names}
    close = [folded[match] for match in get_close_matches(name.lower(), folded, count, 0.3)]
    if close:
        return "nearest: " + ", ".join(close)
    return "known: " + ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def install_command(extra: str) -> str:
    """The command that adds an extra of pyproject.toml to the Python that runs this."""
    folder = Path(__file__).resolve().parent.parent
    shown = str(folder) if (folder / "pyproject.toml").is_file() else "FOLDER OF CTRLGEN"
    return f'{quoted(sys.executable)} -m pip install -e "{shown}[{extra}]"'


def quoted(text: str) -> str:
    """A word of a shell command, in double quotes if it contains a space."""
    return f'"{text}"' if " " in text else text
