"""The error of a job that lacks what a figure shows. It does not import torch."""

from __future__ import annotations

from lib_ctrlgen.errors import RequestError


class LacksError(RequestError):
    """The job lacks what a figure shows, such as a unit with a ControlNet."""


def require(met: bool, name: str, path: str, needs: str) -> None:
    """Raise LacksError at `path` unless a job has what the figure of this name needs."""
    if not met:
        raise LacksError(path, f"`explain {name}` needs {needs}")
