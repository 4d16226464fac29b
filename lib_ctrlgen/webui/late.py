"""Functions that gradio's events call, from modules that are imported when an event first needs them.

So the WebUI's start does not wait for them. gradio also evaluates the annotations of the function of each
event, and the panel has hundreds of events; these functions show none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Late:
    """A module of `lib_ctrlgen.webui` such as `panel.recipe_events`; its attributes are its functions."""

    module: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        module = f"lib_ctrlgen.webui.{self.module}"

        @plain
        def call(*values: Any) -> Any:
            return getattr(import_module(module), name)(*values)

        call.__name__ = call.__qualname__ = name
        return call


def plain(function: Function) -> Function:
    """The function without annotations, for an event that every unit has."""
    function.__annotations__ = {}
    return function
