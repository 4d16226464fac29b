"""`ctrlgen preprocessors`, which lists the preprocessors that jobs can use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .common import Parser

if TYPE_CHECKING:
    from lib_ctrlgen.request.params import Param


def add_lists(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    found = commands.add_parser("preprocessors", help="list the preprocessors and their parameters")
    found.set_defaults(command=preprocessors_command)


def preprocessors_command(_options: argparse.Namespace) -> None:
    """`ctrlgen preprocessors`."""
    from lib_ctrlgen.preprocessors import params_of, preprocessors

    width = max(len(each.name) for each in preprocessors())
    for each in preprocessors():
        print(f"{each.name:<{width}}  {each.title}")
        for param in params_of(each):
            print(f"{'':<{width}}    {param.name}: {param_range(param)}")


def param_range(param: Param) -> str:
    """The values that a parameter takes, and its default."""
    if param.kind in {"int", "float"}:
        low, high = ("" if end is None else f"{end:g}" for end in (param.minimum, param.maximum))
        values = f"{low}..{high}" + ("" if param.off is None else f" or {param.off:g}")
    else:
        values = " | ".join(param.choices) or {"bool": "true | false"}.get(param.kind, param.kind)
    return values if param.default == "" else f"{values} (default {param.default})"
