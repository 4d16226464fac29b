"""`ctrlgen product --app` and `--recipe`: the page for one product, and its pictures as recipes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import HostError, RequestError, install_command
from lib_ctrlgen.files import expanded

from .common import Parser
from .recipes import DEFAULT, VARIABLE

if TYPE_CHECKING:
    from lib_ctrlgen.projects.product.recipes import PictureRecipes
    from lib_ctrlgen.projects.product.run import ProductRun

PORT = 7871
NEEDED = 6  # gradio's version


def add_app(parser: Parser) -> None:
    """Add the options of the page."""
    parser.add_argument(
        "--app", action="store_true", help="open a page on this computer instead of making the pictures"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"of the page; 0 takes a free one (with --app, {PORT})"
    )


def add_recipe(parser: Parser) -> None:
    """Add the options for recipes."""
    parser.add_argument(
        "--recipe", metavar="NAME", help="keep each picture as a recipe NAME PICTURE (needs the program git)"
    )
    parser.add_argument(
        "--recipes",
        type=expanded,
        metavar="FOLDER",
        help=f"with --recipe, the folder of the recipes ({VARIABLE}, {DEFAULT})",
    )


def recipes_of(options: argparse.Namespace) -> PictureRecipes | None:
    """Where the options keep recipes; None without `--recipe`. Raises RequestError."""
    if options.recipe is None:
        if options.recipes is not None:
            raise RequestError("--recipes", "goes with --recipe NAME, which begins the recipes' names")
        return None
    from lib_ctrlgen.projects.product.recipes import PictureRecipes
    from lib_ctrlgen.recipes.library import Library

    folder = options.recipes or expanded(os.environ.get(VARIABLE) or DEFAULT)
    return PictureRecipes(library=Library(folder.absolute()), name=options.recipe)


def app_command(run_of: Callable[[], ProductRun], options: argparse.Namespace) -> int:
    """`ctrlgen product DIR --app`: serves the page until Ctrl-C. Raises HostError."""
    require_gradio()
    if options.port is not None and not 0 <= options.port < 2**16:
        raise RequestError("--port", f"is {options.port}: from 0 to {2**16 - 1}")
    run = run_of()
    from lib_ctrlgen.projects.product.app.program import serve_app

    serve_app(run, PORT if options.port is None else options.port)
    return 0


def require_gradio() -> None:
    """Raise HostError, which says what to install, where gradio is missing or of another version."""
    try:
        found = version("gradio")
    except PackageNotFoundError:
        found = ""
    if found.partition(".")[0] == str(NEEDED):
        return
    there = f"gradio {found} is installed, and --app needs" if found else "--app needs"
    raise HostError(f"{there} gradio {NEEDED}; install it with: {install_command('serve')}")
