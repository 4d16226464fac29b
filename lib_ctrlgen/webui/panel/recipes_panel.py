"""The tab "Recipes": save the panel with the last picture, load, compare, share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr
from modules import infotext_utils
from modules.ui_components import FormRow

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.picture_values import CONCEPT_FIELDS, UNIT_FIELDS
from lib_ctrlgen.recipes.names import names_in
from lib_ctrlgen.request.blend import MAX_CONCEPTS
from lib_ctrlgen.webui.late import Late
from lib_ctrlgen.webui.settings import recipes_folder, unit_count

from .components import FileButton, FileInput, Panel, PictureList

NEWEST = "the newest"
EVENTS, VALUES = Late("panel.recipe_events"), Late("panel.recipe_values")


@dataclass
class RecipesPanel:
    """The components of the tab by name."""

    panel: Panel
    parts: dict[str, Any] = field(default_factory=dict)

    def show(self, name: str, component: type, *value: Any, **options: Any) -> Any:
        """Create a component. The WebUI does not save its value as a default."""
        made = component(*value, elem_id=self.panel.elem_id(f"recipe_{name}"), **options)
        made.do_not_save_to_config = True
        self.parts[name] = made
        return made


def build_recipes(panel: Panel) -> None:
    """Build the content of the tab.

    All other fields of the panel must be built already: recipes save and fill their values.
    """
    recipes = RecipesPanel(panel)
    with gr.Column(elem_id=panel.elem_id("recipes")):
        _build_save(recipes)
        _build_choice(recipes)
        _build_share(recipes)
        recipes.show("note", gr.HTML)
        recipes.show("text", gr.HTML)
        recipes.show("pairs", PictureList, label="Old, new, difference", columns=1, visible=False)
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
    recipes.show("gallery", PictureList, label="Recipes", columns=6, height=240, allow_preview=False)
    recipes.show("refresh", gr.Button, "Show all recipes", size="sm")
    with FormRow():
        names = known_names()
        recipes.show("name", gr.Dropdown, label="Recipe", choices=names)
        recipes.show("version", gr.Dropdown, label="Version", choices=[NEWEST], value=NEWEST)
        recipes.show("variant", gr.Dropdown, label="Variant", choices=[], allow_custom_value=True)
    with gr.Row():
        recipes.show("load", gr.Button, "Load into the panel", size="sm")
        recipes.show("restore", gr.Button, "Make this version the newest", size="sm")
        recipes.show("switch", gr.Button, "Switch to the variant, or make it", size="sm")
    with FormRow():
        recipes.show("new_name", gr.Textbox, label="New name of the recipe", max_lines=1, scale=2)
        recipes.show("rename", gr.Button, "Rename", size="sm", min_width=100)
        recipes.show("delete", gr.Button, "Delete with its history", size="sm", min_width=100)


def _build_share(recipes: RecipesPanel) -> None:
    with FormRow():
        names = ["", *known_names()]
        recipes.show("other", gr.Dropdown, label="Compare with (empty: the version before)", choices=names)
    with gr.Row():
        recipes.show("compare", gr.Button, "Compare", size="sm")
        recipes.show("export", gr.Button, "Export as zip", size="sm")
        kinds = [".zip", ".png", ".jpg", ".jpeg", ".webp"]
        options = {"file_types": kinds, "type": "file", "size": "sm"}
        recipes.show("import", FileButton, "Import a zip or a picture", **options)
    recipes.show("file", FileInput, label="Zip", visible=False)


def _connect(recipes: RecipesPanel) -> None:
    parts, tab = recipes.parts, recipes.panel.tab
    listed = [parts["note"], parts["name"], parts["other"], parts["gallery"]]
    page = f"(...args) => ctrlgenRecipes.page('{tab}', args)"
    inputs = [parts["page"], parts["new"], parts["message"], *recipes.panel.components]
    parts["save"].click(EVENTS.saved, _js=page, inputs=inputs, outputs=listed)
    parts["refresh"].click(EVENTS.refreshed, outputs=listed)
    parts["import"].upload(EVENTS.imported, inputs=[parts["import"]], outputs=listed)
    parts["gallery"].select(chosen, outputs=[parts["name"]])
    choices = [parts["version"], parts["variant"], parts["note"]]
    parts["name"].change(EVENTS.versions, inputs=[parts["name"]], outputs=choices, show_progress=False)
    version = [parts["name"], parts["version"]]
    paste = {"fn": None, "_js": f"() => ctrlgenRecipes.paste('{tab}')"}
    parts["load"].click(EVENTS.loaded, inputs=version, outputs=[parts["infotext"], parts["note"]]).then(
        **paste
    )
    parts["restore"].click(EVENTS.restored, inputs=version, outputs=choices)
    parts["rename"].click(EVENTS.renamed, inputs=[parts["name"], parts["new_name"]], outputs=listed)
    script = "(name) => ctrlgenRecipes.confirmed(name)"
    parts["delete"].click(EVENTS.deleted, _js=script, inputs=[parts["name"]], outputs=listed)
    parts["switch"].click(EVENTS.switched, inputs=[parts["name"], parts["variant"]], outputs=choices)
    outputs = [parts["text"], parts["pairs"], parts["note"]]
    parts["compare"].click(EVENTS.compared, inputs=[*version, parts["other"]], outputs=outputs)
    parts["export"].click(EVENTS.exported, inputs=version, outputs=[parts["file"], parts["note"]])
    _connect_paste(recipes)


def _connect_paste(recipes: RecipesPanel) -> None:
    """Let the recipe's infotext take the way of a pasted one, and its pictures follow it."""
    parts, panel = recipes.parts, recipes.panel
    binding = infotext_utils.ParamBinding(
        paste_button=parts["paste"], tabname=panel.tab, source_text_component=parts["infotext"]
    )
    infotext_utils.register_paste_params_button(binding)
    panel.paste_fields.append((parts["token"], EVENTS.pasted_token))
    fields = picture_fields(panel)

    parts["token"].change(
        partial(VALUES.filled, tuple(fields)),
        inputs=[parts["token"]],
        outputs=[parts["text"], *fields.values()],
    )


def known_names() -> list[str]:
    """The names of the recipes while the page is built; none if the folder cannot be read.

    The buttons show the error then, and the rest of the panel is built all the same.
    """
    try:
        return names_in(recipes_folder())
    except CtrlGenError:
        return []


def chosen(event: gr.SelectData) -> Any:
    """The name of the recipe whose thumbnail was clicked."""
    return gr.update(value=EVENTS.name_at(event.index))


def picture_fields(panel: Panel) -> dict[str, Any]:
    """The picture fields of all units and concepts, by the ends of their elements' ids."""
    ends = [f"unit{number}_{name}" for number in range(unit_count()) for name in UNIT_FIELDS]
    ends += [f"concept{number}_{name}" for number in range(MAX_CONCEPTS) for name in CONCEPT_FIELDS]
    known = {component.elem_id: component for component in panel.components}
    return {end: known[panel.elem_id(end)] for end in ends}
