"""`ctrlgen preprocessors`, which lists the preprocessors and installs the environments that some need."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import HostError

from .common import Parser

if TYPE_CHECKING:
    from lib_ctrlgen.request.params import Param

EPILOG = """\
examples:
  ctrlgen preprocessors
  ctrlgen preprocessors install mediapipe         what it takes, and where it would go
  ctrlgen preprocessors install mediapipe --yes
"""


def add_lists(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command; without a command of its own it lists."""
    found = commands.add_parser(
        "preprocessors",
        help="list the preprocessors and their parameters, install the environments of some",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.set_defaults(command=preprocessors_command)
    parts = found.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    install = parts.add_parser("install", help="install packages in an environment of their own")
    install.add_argument("name", help="name of the environment (mediapipe), or of a preprocessor")
    install.add_argument("--yes", action="store_true", help="install; without it, only say what it takes")
    install.set_defaults(command=install_command, downloads=True)


def preprocessors_command(_options: argparse.Namespace) -> None:
    """`ctrlgen preprocessors`."""
    from lib_ctrlgen.preprocessors import params_of, preprocessors
    from lib_ctrlgen.preprocessors.isolated.environment import environment_of

    width = max(len(each.name) for each in preprocessors())
    for each in preprocessors():
        print(f"{each.name:<{width}}  {each.title}")
        for param in params_of(each):
            print(f"{'':<{width}}    {param.name}: {param_range(param)}")
        needed = environment_of(each.name)
        if needed is not None:
            state = "is installed" if needed.is_installed else f"is not installed: run {needed.command}"
            print(f"{'':<{width}}    its environment {needed.name} {state}")


def install_command(options: argparse.Namespace) -> None:
    """`ctrlgen preprocessors install`. Prints the environment's folder."""
    from lib_ctrlgen.preprocessors.isolated.environment import environment_named
    from lib_ctrlgen.preprocessors.isolated.installation import installed, require_possible, works

    environment = environment_named(options.name)
    if not works(environment):
        require_possible(environment)
        if not options.yes:
            raise HostError(f"add --yes to install {environment.name}: it takes {environment.costs}")
        print(f"installing {environment.name}: it takes {environment.costs}", file=sys.stderr)
    print(installed(environment, lambda line: print(line, file=sys.stderr)))


def param_range(param: Param) -> str:
    """The values that a parameter takes, and its default."""
    if param.kind in {"int", "float"}:
        low, high = ("" if end is None else f"{end:g}" for end in (param.minimum, param.maximum))
        values = f"{low}..{high}" + ("" if param.off is None else f" or {param.off:g}")
    else:
        values = " | ".join(param.choices) or {"bool": "true | false"}.get(param.kind, param.kind)
    return values if param.default == "" else f"{values} (default {param.default})"
