"""Whether Optuna, which only a search needs, is installed, and the command that installs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from lib_ctrlgen.errors import quoted

NAME = "optuna"


def has_optuna() -> bool:
    """Whether a search can import Optuna."""
    return find_spec(NAME) is not None


def install_optuna() -> str:
    """The command for the Python that runs this. CtrlGen never runs it by itself."""
    return f"{quoted(sys.executable)} -m pip install {NAME}"
