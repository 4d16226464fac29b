"""The accordion "Recipes": save the panel with the last picture, load, compare, share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from modules import infotext_utils
from modules.ui_components import FormRow
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.forms.picture_values import CONCEPT_FIELDS, UNIT_FIELDS
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.recipes.archive import write_zip
from lib_ctrlgen.recipes.compare import compare_versions
from lib_ctrlgen.recipes.imports import import_file
from lib_ctrlgen.request.blend import MAX_CONCEPTS
from lib_ctrlgen.webui.recipes import library
from lib_ctrlgen.webui.settings import unit_count

from .components import Panel
from .preview import error_html
from .recipe_values import ENTRY, pasted, pictures_of, recipe_of_panel

SHOWN = 60  # recipes with thumbnails
THUMBNAIL = (256, 256)
NEWEST = "the newest"
CHOOSE = "Choose a recipe first."


@dataclass
class RecipesPanel:
    """The components of the accordion by name."""

    panel: Panel
    parts: dict[str, Any] = field(default_factory=dict)

    def show(self, name: str, component: type, *value: Any, **options: Any) -> Any:
        """Create a component. The WebUI does not save its value as a default."""
        made = component(*value, elem_id=self.panel.elem_id(f"recipe_{name}"), **options)
        made.do_not_save_to_config = True
        self.parts[name] = made
        return made


def build_recipes(panel: Panel) -> None:
    """Build the accordion behind all fields of the panel, whose values it saves and fills."""
    recipes = RecipesPanel(panel)
    with gr.Accordion("Recipes", open=False, elem_id=panel.elem_id("recipes")):
        _build_save(recipes)
        _build_choice(recipes)
        _build_share(recipes)
        recipes.show("note", gr.HTML)
        recipes.show("text", gr.HTML)
        recipes.show("pairs", gr.Gallery, label="Old, new, difference", columns=1, visible=False)
        hidden = {"elem_classes": ["ctrlgen-hidden"]}
        recipes.show("page", gr.Textbox, label="page", **hidden)
        recipes.show("infotext", gr.Textbox, label="infotext", **hidden)
        recipes.show("token", gr.Textbox, label="recipe", **hidden)
        recipes.show("paste", gr.Button, "Paste", **hidden)
    _connect(recipes)


def _build_save(recipes: RecipesPanel) -> None:
    with FormRow():
        recipes.show("new", gr.Textbox, label="Save as", placeholder="name of the recipe", max_lines=1)
        hint = "what is new in this version"
        recipes.show("message", gr.Textbox, label="Words for the history", placeholder=hint, max_lines=1)
    recipes.show("save", gr.Button, "Save the panel with the gallery's picture", size="sm")


def _build_choice(recipes: RecipesPanel) -> None:
    recipes.show("gallery", gr.Gallery, label="Recipes", columns=6, height=240, allow_preview=False)
    recipes.show("refresh", gr.Button, "Show all recipes", size="sm")
    with FormRow():
        names = [*library().names()]
        recipes.show("name", gr.Dropdown, label="Recipe", choices=names)
        recipes.show("version", gr.Dropdown, label="Version", choices=[NEWEST], value=NEWEST)
        recipes.show("variant", gr.Dropdown, label="Variant", choices=[], allow_custom_value=True)
    with gr.Row():
        recipes.show("load", gr.Button, "Load into the panel", size="sm")
        recipes.show("restore", gr.Button, "Make this version the newest", size="sm")
        recipes.show("switch", gr.Button, "Switch to the variant, or make it", size="sm")


def _build_share(recipes: RecipesPanel) -> None:
    with FormRow():
        names = ["", *library().names()]
        recipes.show("other", gr.Dropdown, label="Compare with (empty: the version before)", choices=names)
    with gr.Row():
        recipes.show("compare", gr.Button, "Compare", size="sm")
        recipes.show("export", gr.Button, "Export as zip", size="sm")
        kinds = [".zip", ".png", ".jpg", ".jpeg", ".webp"]
        options = {"file_types": kinds, "type": "file", "size": "sm"}
        recipes.show("import", gr.UploadButton, "Import a zip or a picture", **options)
    recipes.show("file", gr.File, label="Zip", visible=False)


def _connect(recipes: RecipesPanel) -> None:
    parts, tab = recipes.parts, recipes.panel.tab
    listed = [parts["note"], parts["name"], parts["other"], parts["gallery"]]
    page = f"(...args) => ctrlgenRecipes.page('{tab}', args)"
    inputs = [parts["page"], parts["new"], parts["message"], *recipes.panel.components]
    parts["save"].click(saved, _js=page, inputs=inputs, outputs=listed)
    parts["refresh"].click(refreshed, outputs=listed)
    parts["import"].upload(imported, inputs=[parts["import"]], outputs=listed)
    parts["gallery"].select(chosen, outputs=[parts["name"]])
    choices = [parts["version"], parts["variant"], parts["note"]]
    parts["name"].change(versions, inputs=[parts["name"]], outputs=choices, show_progress=False)
    version = [parts["name"], parts["version"]]
    paste = {"fn": None, "_js": f"() => ctrlgenRecipes.paste('{tab}')"}
    parts["load"].click(loaded, inputs=version, outputs=[parts["infotext"], parts["note"]]).then(**paste)
    parts["restore"].click(restored, inputs=version, outputs=choices)
    parts["switch"].click(switched, inputs=[parts["name"], parts["variant"]], outputs=choices)
    outputs = [parts["text"], parts["pairs"], parts["note"]]
    parts["compare"].click(compared, inputs=[*version, parts["other"]], outputs=outputs)
    parts["export"].click(exported, inputs=version, outputs=[parts["file"], parts["note"]])
    _connect_paste(recipes)


def _connect_paste(recipes: RecipesPanel) -> None:
    """Let the recipe's infotext take the way of a pasted one, and its pictures follow it."""
    parts, panel = recipes.parts, recipes.panel
    binding = infotext_utils.ParamBinding(
        paste_button=parts["paste"], tabname=panel.tab, source_text_component=parts["infotext"]
    )
    infotext_utils.register_paste_params_button(binding)
    panel.paste_fields.append((parts["token"], pasted_token))
    fields = picture_fields(panel)

    def filled(token: str) -> list[Any]:
        try:
            values = pictures_of(token)
        except CtrlGenError as error:
            return [error_html(error), *(gr.update() for _ in fields)]
        return ["", *(gr.update(value=values.get(name)) for name in fields)]

    parts["token"].change(filled, inputs=[parts["token"]], outputs=[parts["text"], *fields.values()])


def picture_fields(panel: Panel) -> dict[str, Any]:
    """The picture fields of all units and concepts, by the ends of their elements' ids."""
    ends = [f"unit{number}_{name}" for number in range(unit_count()) for name in UNIT_FIELDS]
    ends += [f"concept{number}_{name}" for number in range(MAX_CONCEPTS) for name in CONCEPT_FIELDS]
    known = {component.elem_id: component for component in panel.components}
    return {end: known[panel.elem_id(end)] for end in ends}


def pasted_token(params: Mapping[str, Any]) -> Any:
    """The recipe that a pasted infotext names, for the field whose change fills in the pictures."""
    return gr.update(value=params[ENTRY]) if params.get(ENTRY) else None


def saved(page: str, name: str, message: str, *args: Any) -> list[Any]:
    """Save the panel; returns the note, and the recipes for the lists and the gallery."""

    def save() -> str:
        made = recipe_of_panel(args, json.loads(page or "{}"))
        version = library().save(name, made.recipe, message)
        return _said(f"Saved {name!r}, version {version.id[:8]}", made.notes)

    return shown(save, name.strip)


def refreshed() -> list[Any]:
    """Read the library again."""
    return shown(lambda: note(f"{len(library().names())} recipes in {library().folder}"))


def imported(file: Any) -> list[Any]:
    """Add the recipe in an uploaded file."""
    added: list[str] = []

    def add() -> str:
        path = Path(file.name)
        title = Path(getattr(file, "orig_name", file.name)).stem
        done = import_file(library(), path.read_bytes(), title)
        added.append(done.name)
        return _said(f"Imported {done.name!r}", done.notes)

    return shown(add, lambda: added[0])


def shown(change: Callable[[], str], selected: Callable[[], str] | None = None) -> list[Any]:
    """The note that `change` returns or its error, and the lists and the gallery after it."""
    try:
        said = change()
        rows = library().listed()[:SHOWN]
    except CtrlGenError as error:
        return [error_html(error), gr.update(), gr.update(), gr.update()]
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


def chosen(event: gr.SelectData) -> Any:
    """The name of the recipe whose thumbnail was clicked."""
    return gr.update(value=library().listed()[:SHOWN][event.index].name)


def versions(name: str) -> list[Any]:
    """The versions and variants of a recipe for their lists."""
    return _choices(name, gr.update())


def _choices(name: str, said: Any) -> list[Any]:
    if not name:
        return [gr.update(), gr.update(), said]
    try:
        folder = library().find(name)
        rows = [f"{each.id[:8]}  {each.saved[:16]}  {each.message}" for each in folder.history()]
        found, current = folder.variants(), folder.variant
    except CtrlGenError as error:
        return [gr.update(), gr.update(), error_html(error)]
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
        return ["", error_html(error if name else CHOOSE)]
    return [found.text, note(f"Loaded {name!r}: {found.said}")]


def restored(name: str, version: str) -> list[Any]:
    """Make an old version the newest one."""
    try:
        with library().changing(name or "") as folder:
            done = folder.restore(folder.commit(version_in(version)))
    except CtrlGenError as error:
        return [gr.update(), gr.update(), error_html(error if name else CHOOSE)]
    return _choices(name, note(done.message))


def switched(name: str, variant: str) -> list[Any]:
    """Make a variant the current one; one that does not exist is made from the newest version."""
    try:
        with library().changing(name or "") as folder:
            known = variant in folder.variants()
            folder.switch(variant) if known else folder.new_variant(variant or "")
    except CtrlGenError as error:
        return [gr.update(), gr.update(), error_html(error if name else CHOOSE)]
    return _choices(name, note(f"{name!r} is now at its variant {variant!r}"))


def compared(name: str, version: str, other: str) -> list[Any]:
    """The difference of two versions or recipes as HTML, and the pairs of pictures."""
    try:
        first, second = library().find(name or ""), library().find(other or name or "")
        found = compare_versions(first, second, version_in(version))
    except CtrlGenError as error:
        return ["", gr.update(visible=False), error_html(error if name else CHOOSE)]
    text = escape(found.text or "The texts are the same.")
    pairs = [(each.image, f"{each.place}: at most {each.largest} of 255") for each in found.pictures]
    shown_pairs = gr.update(value=pairs, visible=bool(pairs))
    return [f'<pre class="ctrlgen-table">{text}</pre>', shown_pairs, ""]


def exported(name: str, version: str) -> list[Any]:
    """A recipe's zip as a file to download."""
    try:
        folder = library().find(name or "")
        packed = write_zip(folder.files(folder.commit(version_in(version))))
        path = Path(tempfile.mkdtemp(prefix="ctrlgen-recipe-")) / f"{folder.folder.name}.zip"
        save_bytes(packed, path)
    except CtrlGenError as error:
        return [gr.update(visible=False), error_html(error if name else CHOOSE)]
    return [gr.update(value=str(path), visible=True), note(f"{len(packed):,} bytes, without the history")]


def note(text: str) -> str:
    """A sentence as HTML."""
    return f'<p class="ctrlgen-note">{escape(text)}</p>'


def _said(text: str, notes: tuple[str, ...]) -> str:
    return note(f"{text}. " + "; ".join(notes))
