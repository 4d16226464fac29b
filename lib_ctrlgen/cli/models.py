"""`ctrlgen models list`, `info` and `get`: which models there are, what a file is, and downloads."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import HostError, ModelError, nearest
from lib_ctrlgen.files import expanded

from .common import Parser, add_model_folders, bar, folders_of, weight_roots

if TYPE_CHECKING:
    from lib_ctrlgen.models.listing import Listed
    from lib_ctrlgen.models.published import Published

MEGABYTE = 1_000_000
EPILOG = """\
examples:
  ctrlgen models list --models ~/stable-diffusion-webui
  ctrlgen models list --published canny    what is published, and whether it is here
  ctrlgen models info control_v11p_sd15_canny
  ctrlgen models get control_v11p_sd15_canny --yes
  ctrlgen models get hed --yes             the weights of a preprocessor
"""


def add_models_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its own commands; without one of them it lists."""
    models = commands.add_parser(
        "models",
        help="list the models in the model folders, say what a file is, download published ones",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_folders(models)
    models.set_defaults(command=list_command, text="", published=False)
    parts = models.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    _add_list(parts)
    info = parts.add_parser("info", help="what a model is, how it was recognised, which checkpoints it fits")
    info.add_argument("name", help="name of a model, of a published file, or path of a file")
    add_model_folders(info, again=True)
    info.set_defaults(command=info_command)
    get = parts.add_parser("get", help="download a published model, or the weights of a preprocessor")
    get.add_argument("name", help="name of a published file, or of a preprocessor")
    get.add_argument("--yes", action="store_true", help="download; without it, only say what and from where")
    get.add_argument("--folder", type=expanded, help="folder to write (that in which it is searched)")
    add_model_folders(get, again=True)
    get.set_defaults(command=get_command, downloads=True)


def _add_list(parts: argparse._SubParsersAction[Parser]) -> None:
    listing = parts.add_parser("list", help="kind, base, size, hash and purpose of each model")
    listing.add_argument("text", nargs="?", default="", help="only models with this in name, kind or purpose")
    listing.add_argument(
        "--published", action="store_true", help="the published models that are known, also those not here"
    )
    add_model_folders(listing, again=True)
    listing.set_defaults(command=list_command)


def list_command(options: argparse.Namespace) -> None:
    """`ctrlgen models` and `ctrlgen models list`."""
    folders = folders_of(options)
    rows = [*models_here(options, folders)]
    if options.published:
        cells = [*_published_cells({row.published.title for row in rows if row.published})]
    else:
        cells = [(*(cell or "-" for cell in row.cells[:-1]), row.cells[-1]) for row in rows]
    wanted = [row for row in cells if options.text.lower() in " ".join(row).lower()]
    if not wanted:
        places = ", ".join(map(str, folders)) or "none"
        what = f"no model with {options.text!r}" if cells else "no models"
        raise HostError(f"{what} in the model folders ({places}): name a folder with --models FOLDER")
    widths = [max(len(row[column]) for row in wanted) for column in range(len(wanted[0]) - 1)]
    for row in wanted:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*padded, row[-1]]).rstrip())


def models_here(options: argparse.Namespace, folders: Sequence[Path]) -> Iterator[Listed]:
    """The models in the model folders, then the weights of preprocessors."""
    from lib_ctrlgen.controls.describe import describe
    from lib_ctrlgen.models.listing import listed, listed_weights
    from lib_ctrlgen.models.model_files import ModelFiles
    from lib_ctrlgen.models.places import own_index
    from lib_ctrlgen.models.weights import weight_folders

    files = ModelFiles(folders, own_index())
    rows = listed(files, files.checkpoints(), describe)
    yield from rows
    seen = {row.path for row in rows}
    found = listed_weights(weight_folders(folders, weight_roots(options.models)))
    yield from sorted((row for row in found if row.path not in seen), key=lambda row: row.name)


def _published_cells(here: set[str]) -> Iterator[tuple[str, ...]]:
    """The rows of the published files, with a mark for those that are here."""
    from lib_ctrlgen.models.listing import size_text
    from lib_ctrlgen.models.published import published_files

    for each in published_files():
        mark = "here" if each.title in here else "-"
        yield each.title, each.kind, each.base or "-", size_text(each.bytes), mark, each.purpose


def info_command(options: argparse.Namespace) -> None:
    """`ctrlgen models info`."""
    from lib_ctrlgen.controls.describe import describe
    from lib_ctrlgen.models.index import recogniser
    from lib_ctrlgen.models.info import info_lines
    from lib_ctrlgen.models.listing import listed_model
    from lib_ctrlgen.models.model_files import ModelFiles
    from lib_ctrlgen.models.places import own_index
    from lib_ctrlgen.models.published import named
    from lib_ctrlgen.models.scan import ModelFile

    path = expanded(options.name)
    files = ModelFiles(folders_of(options), own_index())
    published = named(options.name)
    if path.is_file():
        row = listed_model(files.index, ModelFile(path.name, path), describe, recogniser())
    else:
        try:
            found = files.find_checkpoint(options.name)
            model = ModelFile(files.name(found), found, found.is_dir())
            row = listed_model(files.index, model, describe, recogniser())
        except ModelError:
            if published is None:
                raise
            print("\n".join(published_lines(published)))
            return
    print("\n".join(info_lines(row, files)))
    files.index.save()


def published_lines(entry: Published) -> list[str]:
    """What is known of a published file that is not here."""
    from lib_ctrlgen.models.info import publication

    return [f"{entry.title}: not in the model folders", *publication(entry)]


def get_command(options: argparse.Namespace) -> None:
    """`ctrlgen models get`."""
    from lib_ctrlgen.models.download import download, require_online

    wanted = [(entry, options.folder or _folder_for(entry, options)) for entry in published_for(options.name)]
    for entry, folder in wanted:
        require_online(entry, folder)
    if not options.yes:
        raise HostError(f"add --yes to download {'; '.join(_offer(*each) for each in wanted)}")
    for entry, folder in wanted:
        with bar(entry.title, "MB") as report:
            path = download(entry, folder, lambda done, total: report(done // MEGABYTE, total // MEGABYTE))
        print(path)


def _offer(entry: Published, folder: Path) -> str:
    """What would be downloaded, from where, into which folder."""
    from lib_ctrlgen.models.listing import size_text

    size = size_text(entry.bytes) if entry.bytes else "not known"
    terms = entry.licence or f"see {entry.page}"
    return (
        f"{entry.title} ({entry.purpose}; size {size}; licence: {terms}) from {entry.address} into {folder}"
    )


def published_for(name: str) -> list[Published]:
    """The published file of a name, or all weights of a preprocessor. Raises ModelError."""
    from lib_ctrlgen.models.published import named, published_files, weights_of

    entry = named(name)
    found = [entry] if entry is not None else [*weights_of(name)]
    if not found:
        known = [each.title for each in published_files()]
        raise ModelError(f"no published file or preprocessor named {name!r}; {nearest(name, known)}")
    return found


def _folder_for(entry: Published, options: argparse.Namespace) -> Path:
    """The folder in which a file will be found: of the first model folder, or CtrlGen's own."""
    from lib_ctrlgen.models.places import folder_for

    return folder_for(entry, options.models, weight_roots(options.models))
