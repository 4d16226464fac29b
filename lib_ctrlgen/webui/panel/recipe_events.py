"""What the buttons of the accordion "Recipes" do: save, list, import, load, restore, compare, export."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.forms.field_errors import with_labels, within
from lib_ctrlgen.forms.recipe_places import RECIPE_CHOSEN, RECIPE_OTHER, RECIPE_SAVED, at_recipe
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.recipes.archive import write_zip
from lib_ctrlgen.recipes.compare import compare_versions
from lib_ctrlgen.recipes.imports import import_file
from lib_ctrlgen.recipes.versions import RecipeFolder
from lib_ctrlgen.webui.recipe_library import library

from .preview import error_html
from .recipe_values import ENTRY, pasted, recipe_of_panel
from .recipes_panel import NEWEST

SHOWN = 60  # recipes with thumbnails
THUMBNAIL = (256, 256)
CHOOSE = RequestError("$.recipe.name", "Choose a recipe first.")
NOT_DELETED = "Nothing was deleted."


def pasted_token(params: Mapping[str, Any]) -> Any:
    """The recipe that a pasted infotext names, for the field whose change fills in the pictures."""
    return gr.update(value=params[ENTRY]) if params.get(ENTRY) else None


def saved(page: str, name: str, message: str, *args: Any) -> list[Any]:
    """Save the panel; returns the note, and the recipes for the lists and the gallery."""

    def save() -> str:
        made = recipe_of_panel(args, json.loads(page or "{}"))
        version = library().save(name, made.recipe, message)
        return _said(f"Saved {name!r}, version {version.id[:8]}", made.notes)

    return shown(save, name.strip, RECIPE_SAVED)


def refreshed() -> list[Any]:
    """Read the library again."""
    return shown(lambda: note(f"{len(library().names())} recipes in {library().folder}"))


def imported(file: Any) -> list[Any]:
    """Add the recipe in an uploaded file."""
    added: list[str] = []

    def add() -> str:
        path = Path(file.name)
        title = Path(getattr(file, "orig_name", file.name)).stem
        try:
            done = import_file(library(), path.read_bytes(), title)
        except RequestError as error:
            raise within(error, "$.recipe.gallery") from error
        added.append(done.name)
        return _said(f"Imported {done.name!r}", done.notes)

    return shown(add, lambda: added[0])


def shown(
    change: Callable[[], str],
    selected: Callable[[], str | None] | None = None,
    fields: Mapping[str, str] = RECIPE_CHOSEN,
) -> list[Any]:
    """The note that `change` returns or its error, and the lists and the gallery after it.

    `fields` are those from which the values at the library's paths were read.
    """
    try:
        said = change()
        rows = library().listed()[:SHOWN]
    except CtrlGenError as error:
        return _unchanged(at_recipe(error, fields))
    names = library().names()
    value = {"value": selected()} if selected else {}
    pictures = [(thumbnail(row.result), row.name) for row in rows]
    return [said, gr.update(choices=names, **value), gr.update(choices=["", *names]), pictures]


def thumbnail(path: Path | None) -> Image.Image:
    """A small picture of a recipe's result; a grey one if it has none."""
    try:
        image = decode_bytes(path.read_bytes(), "$.result") if path else None
    except (CtrlGenError, OSError):  # it was removed or damaged in the folder
        image = None
    if image is None:
        return Image.new("RGB", THUMBNAIL, "grey")
    small = image.convert("RGB")
    small.thumbnail(THUMBNAIL)
    return small


def name_at(place: int) -> str:
    """The name of the recipe at a place of the gallery."""
    return library().listed()[:SHOWN][place].name


def versions(name: str) -> list[Any]:
    """The versions and variants of a recipe for their lists."""
    return _choices(name, gr.update())


def _choices(name: str, said: Any) -> list[Any]:
    if not name:  # as after a recipe was deleted
        return [gr.update(choices=[NEWEST], value=NEWEST), gr.update(choices=[], value=None), said]
    try:
        folder = library().find(name)
        rows = [f"{each.id[:8]}  {each.saved[:16]}  {each.message}" for each in folder.history()]
        found, current = folder.variants(), folder.variant
    except CtrlGenError as error:
        return [gr.update(), gr.update(), _wrong(error, name)]
    listed = gr.update(choices=[NEWEST, *rows], value=NEWEST)
    return [listed, gr.update(choices=found, value=current), said]


def version_in(text: str) -> str:
    """The hash in a choice of the list of versions; empty for the newest."""
    return "" if text in (None, "", NEWEST) else text.partition(" ")[0]


def loaded(name: str, version: str) -> list[Any]:
    """The infotext of a recipe, which the page then pastes, and a note."""
    try:
        found = pasted(name or "", version_in(version))
    except CtrlGenError as error:
        return ["", _wrong(error, name)]
    return [found.text, note(f"Loaded {name!r}: {found.said}")]


def renamed(name: str, new: str) -> list[Any]:
    """Give a recipe another name."""
    made: list[str] = []

    def rename() -> str:
        made.append(library().rename(name, new or ""))
        return note(f"Renamed {name!r} to {made[0]!r}")

    return shown(rename, lambda: made[0]) if name else _unchanged(CHOOSE)


def deleted(name: str) -> list[Any]:
    """Delete a recipe with its history; the page sends no name if the user does not confirm that."""

    def delete() -> str:
        library().delete(name)
        return note(f"Deleted {name!r}")

    return shown(delete, lambda: None) if name else _unchanged(NOT_DELETED)


def _wrong(error: CtrlGenError, name: str) -> str:
    """An error of a button that uses the chosen recipe, as HTML."""
    found = at_recipe(error) if name else CHOOSE
    if isinstance(found, RequestError) and not found.path.startswith("$.recipe."):
        found = within(found, "$.recipe.name")  # the panel's units do not have the recipe's content
    return error_html(found)


def _unchanged(said: CtrlGenError | str) -> list[Any]:
    return [error_html(said), gr.update(), gr.update(), gr.update()]


def restored(name: str, version: str) -> list[Any]:
    """Make an old version the newest one."""
    try:
        with library().changing(name or "") as folder:
            done = folder.restore(folder.commit(version_in(version)))
    except CtrlGenError as error:
        return [gr.update(), gr.update(), _wrong(error, name)]
    return _choices(name, note(done.message))


def switched(name: str, variant: str) -> list[Any]:
    """Make a variant the current one; one that does not exist is made from the newest version."""
    try:
        with library().changing(name or "") as folder:
            known = variant in folder.variants()
            folder.switch(variant) if known else folder.new_variant(variant or "")
    except CtrlGenError as error:
        return [gr.update(), gr.update(), _wrong(error, name)]
    return _choices(name, note(f"{name!r} is now at its variant {variant!r}"))


def compared(name: str, version: str, other: str) -> list[Any]:
    """The difference of two versions or recipes as HTML, and the pairs of pictures."""
    try:
        first, second = library().find(name or ""), _other(other or name)
        found = compare_versions(first, second, version_in(version))
    except CtrlGenError as error:
        return ["", gr.update(visible=False), _wrong(error, name)]
    text = escape(found.text or "The texts are the same.")
    pairs = [(each.image, f"{each.place}: at most {each.largest} of 255") for each in found.pictures]
    shown_pairs = gr.update(value=pairs, visible=bool(pairs))
    return [f'<pre class="ctrlgen-table">{text}</pre>', shown_pairs, ""]


def _other(name: str) -> RecipeFolder:
    """The recipe to compare with. Raises RequestError at its own field."""
    try:
        return library().find(name)
    except CtrlGenError as error:
        raise at_recipe(error, RECIPE_OTHER) from error


def exported(name: str, version: str) -> list[Any]:
    """A recipe's zip as a file to download."""
    try:
        folder = library().find(name or "")
        packed = write_zip(folder.files(folder.commit(version_in(version))))
        path = Path(tempfile.mkdtemp(prefix="ctrlgen-recipe-")) / f"{folder.folder.name}.zip"
        save_bytes(packed, path)
    except CtrlGenError as error:
        return [gr.update(visible=False), _wrong(error, name)]
    return [gr.update(value=str(path), visible=True), note(f"{len(packed):,} bytes, without the history")]


def note(text: str) -> str:
    """A sentence as HTML."""
    return f'<p class="ctrlgen-note">{escape(text)}</p>'


def _said(text: str, notes: tuple[str, ...]) -> str:
    return note(f"{text}. " + "; ".join(map(with_labels, notes)))
