"""A client of the REST API of a WebUI with CtrlGen; it imports neither torch nor numpy."""

from .connection import Timeouts
from .errors import (
    AnswerTimeoutError,
    ConnectionLostError,
    LoginError,
    NotAWebUIError,
    NotInstalledError,
    RefusedError,
    ServerError,
    UnreachableError,
    WebUIError,
)
from .jobs import TuneJob
from .pictures import Picture
from .results import Detected, Generated, Progress
from .webui import WebUI

__all__ = [
    "AnswerTimeoutError",
    "ConnectionLostError",
    "Detected",
    "Generated",
    "LoginError",
    "NotAWebUIError",
    "NotInstalledError",
    "Picture",
    "Progress",
    "RefusedError",
    "ServerError",
    "Timeouts",
    "TuneJob",
    "UnreachableError",
    "WebUI",
    "WebUIError",
]
