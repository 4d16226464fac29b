"""The part of the page for the recipes of the team, and which function each event calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio

from .handlers import Handlers
from .recipe_handlers import RecipeHandlers
from .recipe_views import CHOOSE

PICTURE, ALL = "Picture number", "of a story: all"
NAME = "Name of the recipe"
CONFIRM = "(name) => name && confirm(`Delete the recipe ${name} with its history?`) ? name : ''"


@dataclass(frozen=True)
class SaveParts:
    """The fields under a job with which its pictures are saved."""

    picture: Any
    name: Any
    save: Any


def build_save() -> SaveParts:
    """The fields with which pictures of the chosen job are saved."""
    with gradio.Row():
        name = gradio.Textbox(label=NAME, elem_id="recipe_name", min_width=160, max_length=80)
        picture = gradio.Textbox(label=PICTURE, placeholder=ALL, elem_id="recipe_picture", min_width=160)
        save = gradio.Button("Save as recipe", elem_id="recipe_save", min_width=120)
    return SaveParts(picture, name, save)


def build_recipes(
    page: gradio.Blocks, handlers: Handlers, job: Any, said: Any, save: SaveParts, quiet: dict[str, Any]
) -> None:
    """The recipes of the team, below the jobs; `said` shows messages, `job` is the chosen job."""
    own = RecipeHandlers(handlers)
    with gradio.Accordion("Recipes of the team", open=False, elem_id="recipes"):
        with gradio.Row():
            recipe = gradio.Dropdown([], value=None, label="Recipe", elem_id="recipe")
            version = gradio.Dropdown([], value=None, label="Version", elem_id="version")
        with gradio.Row():
            again = gradio.Button("Make again", elem_id="recipe_again")
            restore = gradio.Button("Make this version the newest", elem_id="recipe_restore")
            delete = gradio.Button("Delete with its history", elem_id="recipe_delete")
        told = gradio.HTML(elem_id="recipe_said")
        view = gradio.HTML(CHOOSE, elem_id="recipe_view")
    page.load(own.opened, None, [recipe, view], **quiet)
    recipe.change(own.chosen, recipe, [version, view], **quiet)
    version.input(own.shown, [recipe, version], view, **quiet)
    save.save.click(own.save, [job, save.picture, save.name], [said, recipe], **quiet)
    again.click(own.again, [recipe, version], [told, job], **quiet)
    restore.click(own.restore, [recipe, version], [told, version, view], **quiet)
    delete.click(own.delete, recipe, [told, recipe], js=CONFIRM, **quiet)
