"""Clients of a WebUI with CtrlGen and of a server for a team; they import neither torch nor numpy."""

from .connection import Timeouts
from .errors import (
    AnswerTimeoutError,
    ConnectionLostError,
    LoginError,
    NotAServerError,
    NotAWebUIError,
    NotInstalledError,
    RefusedError,
    ServerError,
    UnreachableError,
    WebUIError,
)
from .jobs import TuneJob
from .pictures import Picture
from .recipes import WebUIRecipe
from .results import Detected, Generated, Progress
from .server import Server, ServerJob
from .webui import WebUI

__all__ = [
    "AnswerTimeoutError",
    "ConnectionLostError",
    "Detected",
    "Generated",
    "LoginError",
    "NotAServerError",
    "NotAWebUIError",
    "NotInstalledError",
    "Picture",
    "Progress",
    "RefusedError",
    "Server",
    "ServerError",
    "ServerJob",
    "Timeouts",
    "TuneJob",
    "UnreachableError",
    "WebUI",
    "WebUIError",
    "WebUIRecipe",
]
