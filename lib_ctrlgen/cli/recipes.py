"""`ctrlgen recipes`: keeps jobs with pictures and results under names, with history, variants and zips."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import expanded, save_bytes, save_picture

from .common import Parser, add_job

if TYPE_CHECKING:
    from typing import TypeAlias

    from lib_ctrlgen.recipes.library import Library

    Commands: TypeAlias = argparse._SubParsersAction[Parser]

VARIABLE = "CTRLGEN_RECIPES"
DEFAULT = "ctrlgen-recipes"
EPILOG = f"""\
examples:
  ctrlgen recipes save chair job.yaml --result pictures/00000-5.png
  ctrlgen recipes save chair --from-cell grid/cells/0f3a5c7e9b1d2468-00-seed-5.png
  ctrlgen recipes list
  ctrlgen recipes history chair
  ctrlgen recipes diff chair 1a2b3c4d --out differences
  ctrlgen recipes branch chair "warm light" --new
  ctrlgen recipes export chair --out chair.zip
  ctrlgen recipes import chair.zip
  ctrlgen recipes import picture.png --name chair
  ctrlgen run {DEFAULT}/chair/recipe.yaml

The folder is --folder, else {VARIABLE}, else {DEFAULT} in the current folder. A WebUI's recipes are in
{DEFAULT} in the WebUI's folder.
"""


def add_recipes(commands: Commands) -> None:
    """Add the command and its own commands."""
    recipes = commands.add_parser(
        "recipes",
        help="keep jobs with pictures and results under names: history, variants, differences, zips",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = recipes.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    _add_save(parts)
    _add(parts, "list", "all recipes, the last saved one first", list_command, names=())
    _add_version(_add(parts, "show", "a recipe's job, and what is in its folder", show_command))
    _add_variant(_add(parts, "history", "the versions of a recipe, the newest first", history_command))
    _add_diff(parts)
    restore = _add(parts, "restore", "make an old version the newest one", restore_command)
    restore.add_argument("version", help="the first digits of its hash, as `history` prints it")
    _add_branch(parts)
    _add_zips(parts)
    rename = _add(parts, "rename", "give a recipe another name", rename_command)
    rename.add_argument("new", help="the new name")
    delete = _add(parts, "delete", "delete a recipe with its history", delete_command)
    delete.add_argument("--yes", action="store_true", help="delete; without it, only say what would go")


def _add(
    parts: Commands,
    name: str,
    text: str,
    command: Callable[[argparse.Namespace], None],
    names: Sequence[str] = ("name",),
) -> Parser:
    """Add one command with the library's folder and, by default, the name of a recipe."""
    parser = parts.add_parser(name, help=text)
    for each in names:
        parser.add_argument(each, help="name of the recipe")
    parser.add_argument("--folder", type=expanded, help=f"folder of the recipes ({VARIABLE}, {DEFAULT})")
    parser.set_defaults(command=command)
    return parser


def _add_version(parser: Parser) -> None:
    parser.add_argument("--version", default="", help="a version by its hash (the newest)")
    _add_variant(parser)


def _add_variant(parser: Parser) -> None:
    parser.add_argument("--variant", default="", help="a variant by its name (the current one)")


def _add_save(parts: Commands) -> None:
    save = _add(parts, "save", "save a job as a recipe, or as a new version of one", save_command)
    add_job(save, optional=True)
    text = (
        "save a cell of a tuner's run instead of a job: a picture in its folder `cells`, or the run's folder"
    )
    save.add_argument("--from-cell", type=expanded, metavar="PATH", help=f"{text} for the recommended cell")
    save.add_argument("--result", type=expanded, metavar="PICTURE", help="the picture that was made")
    save.add_argument("--message", default="", help="words for the history")
    _add_variant(save)


def _add_diff(parts: Commands) -> None:
    diff = _add(parts, "diff", "compare versions of a recipe, or two recipes", diff_command)
    diff.add_argument("old", nargs="?", default="", help="a version (the one before the newest)")
    diff.add_argument("new", nargs="?", default="", help="a version (the newest)")
    diff.add_argument("--with", dest="other", metavar="RECIPE", help="compare with another recipe instead")
    diff.add_argument("--out", type=expanded, metavar="DIR", help="write the pictures' differences here")


def _add_branch(parts: Commands) -> None:
    branch = _add(parts, "branch", "list, make or switch to a variant of a recipe", branch_command)
    branch.add_argument("variant", nargs="?", default="", help="the variant to switch to; without it, list")
    branch.add_argument("--new", action="store_true", help="make the variant, from the newest version")
    branch.add_argument("--from", dest="version", default="", metavar="VERSION", help="make it from this one")


def _add_zips(parts: Commands) -> None:
    export = _add(parts, "export", "write a recipe as one zip, without its history", export_command)
    export.add_argument("--out", type=expanded, metavar="FILE", help="file to write (NAME.zip)")
    _add_version(export)
    text = "add the recipe in a zip, or the one that a picture's infotext describes"
    import_ = _add(parts, "import", text, import_command, names=())
    import_.add_argument("file", type=expanded, help="a zip, or a picture of the WebUI or of ctrlgen run")
    import_.add_argument("--name", default="", help="name of the recipe (that of the file)")


def library_of(options: argparse.Namespace) -> Library:
    """The library of recipes by the options, the environment or the current folder."""
    from lib_ctrlgen.recipes.library import Library

    return Library(options.folder or expanded(os.environ.get(VARIABLE) or DEFAULT))


def save_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes save`."""
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.recipes.content import Recipe
    from lib_ctrlgen.recipes.from_picture import with_hashes
    from lib_ctrlgen.request.spec import to_payload

    if options.from_cell is not None:
        save_cell_command(options)
        return
    if options.job is None:
        raise HostError("name a job file, or a cell with --from-cell")
    job = to_payload(read_job(options.job, options.set).request, whole=True)
    result = _read(options.result) if options.result else b""
    recipe = Recipe(job=with_hashes(job, result) if result else job, result=result)
    version = library_of(options).save(options.name, recipe, options.message, options.variant)
    print(library_of(options).find(options.name).folder, version.id[:8], sep="\t")


def save_cell_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes save --from-cell`."""
    from lib_ctrlgen.recipes.from_cell import cell_picture, save_cell

    if options.job or options.set or options.result or options.variant:
        raise HostError("--from-cell takes the job and the result from the cell: leave out the others")
    path = options.from_cell
    picture = cell_picture(path) if path.is_dir() else path
    saved = save_cell(library_of(options), options.name, picture, options.message)
    for note in saved.notes:
        print("ctrlgen: warning:", note, file=sys.stderr)
    print(library_of(options).folder / saved.name, saved.version.id[:8], sep="\t")


def list_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes list`."""
    rows = library_of(options).listed()
    if not rows:
        print(f"no recipes in {library_of(options).folder}: `ctrlgen recipes save NAME JOB`", file=sys.stderr)
    for row in rows:
        print(row.name, row.variant, row.version.saved, row.version.id[:8], row.version.message, sep="\t")


def show_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes show`."""
    from lib_ctrlgen.recipes.content import RECIPE, WEBUI

    found = library_of(options).find(options.name)
    files = found.files(found.commit(options.version, options.variant))
    print(f"# {found.folder}, variant {found.variant}")
    for name in sorted(files.keys() - {RECIPE, WEBUI}):
        print(f"# {name}: {len(files[name])} bytes")
    for name in (RECIPE, WEBUI):
        if name in files:
            print(f"# {name}", files[name].decode("utf-8", "replace"), sep="\n", end="")


def history_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes history`."""
    for each in library_of(options).find(options.name).history(options.variant):
        print(each.id[:8], each.saved, each.message, sep="\t")


def diff_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes diff`."""
    from lib_ctrlgen.recipes.compare import compare_versions

    library = library_of(options)
    sides = library.find(options.name), library.find(options.other or options.name)
    found = compare_versions(*sides, options.old, options.new)
    print(found.text, end="" if found.text else "the texts are the same\n")
    for each in found.pictures:
        print(f"# {each.place}: the largest difference of a value is {each.largest} of 255")
        if options.out is not None:
            place = "".join(sign if sign.isalnum() else "-" for sign in each.place).strip("-")
            print(save_picture(each.image, options.out / f"{place}.png"))


def restore_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes restore`."""
    with library_of(options).changing(options.name) as found:
        version = found.restore(options.version)
    print(version.id[:8], version.message, sep="\t")


def branch_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes branch`."""
    with library_of(options).changing(options.name) as found:
        if options.variant and (options.new or options.version):
            found.new_variant(options.variant, options.version)
        elif options.variant:
            found.switch(options.variant)
        elif options.new or options.version:
            raise RequestError("", "name the new variant: ctrlgen recipes branch NAME VARIANT --new")
        current = found.variant
        for name in found.variants():
            print("*" if name == current else " ", name)


def export_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes export`."""
    from lib_ctrlgen.recipes.archive import write_zip

    found = library_of(options).find(options.name)
    packed = write_zip(found.files(found.commit(options.version, options.variant)))
    print(save_bytes(packed, options.out or Path(f"{found.folder.name}.zip")))


def import_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes import`."""
    from lib_ctrlgen.recipes.imports import import_file

    library = library_of(options)
    done = import_file(library, _read(options.file), options.name or options.file.stem)
    for note in done.notes:
        print("ctrlgen: warning:", note, file=sys.stderr)
    print(library.folder / done.name)


def rename_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes rename`."""
    library = library_of(options)
    print(library.folder / library.rename(options.name, options.new))


def delete_command(options: argparse.Namespace) -> None:
    """`ctrlgen recipes delete`."""
    library = library_of(options)
    found = library.find(options.name)
    if not options.yes:
        count = len(found.history())
        raise HostError(f"add --yes to delete {found.folder} with {count} versions of the current variant")
    library.delete(options.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror or error}") from error
