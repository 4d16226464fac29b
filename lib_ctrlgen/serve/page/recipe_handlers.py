"""What the page's buttons for recipes do."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.recipes.compare import compare_versions
from lib_ctrlgen.recipes.versions import RecipeFolder
from lib_ctrlgen.serve.recipes import SaveRecipe, TeamRecipes

from .handlers import SAID, Handlers
from .recipe_views import CHOOSE, NO_RECIPES, recipe_view, version_label
from .views import error_text


@dataclass(frozen=True)
class RecipeHandlers:
    """The functions behind the recipes; all users see all recipes."""

    page: Handlers

    @property
    def recipes(self) -> TeamRecipes:
        """The library of the team."""
        return TeamRecipes(self.page.service, self.page.models)

    def names(self, chosen: str | None = None) -> Any:
        """The names of the recipes for the list of choices."""
        return gradio.update(choices=self.recipes.library().names(), value=chosen)

    def opened(self, request: gradio.Request) -> tuple[Any, str]:
        """Fill the list when the page opens."""
        self.page.user(request)
        return self.names(), CHOOSE if self.recipes.library().names() else NO_RECIPES

    def save(self, job: str | None, picture: str, name: str, request: gradio.Request) -> tuple[str, Any]:
        """Save a picture of the chosen job, or all assets of a story; chooses the last one."""
        try:
            user = self.page.user(request)
            found = self.page.job(user, job)
            wanted = SaveRecipe(job=found.id, picture=number_of(picture), name=name)
            saved = self.recipes.save(user, found, wanted)
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        notes = "".join(f"<p>{escape(note)}</p>" for each in saved for note in each.notes)
        names = ", ".join(escape(each.name) for each in saved[:3]) + (", ..." if len(saved) > 3 else "")
        text = SAID.format(text=f"Saved as {'a recipe' if len(saved) == 1 else 'recipes'}: {names}")
        return text + notes, self.names(saved[-1].name)

    def chosen(self, name: str | None, request: gradio.Request) -> tuple[Any, str]:
        """The versions of the chosen recipe, and the newest one."""
        self.page.user(request)
        if not name:
            return gradio.update(choices=[], value=None), CHOOSE
        try:
            history = self.recipes.find(name).history()
        except CtrlGenError as error:
            return gradio.update(choices=[], value=None), error_text(error)
        choices = [(version_label(each), each.id) for each in history]
        return gradio.update(choices=choices, value=history[0].id), self.shown(name, history[0].id, request)

    def shown(self, name: str | None, version: str | None, request: gradio.Request) -> str:
        """A version of the chosen recipe."""
        self.page.user(request)
        if not name or not version:
            return CHOOSE
        try:
            found = self.recipes.find(name)
            history = found.history()
            difference = text_difference(found) if len(history) > 1 else ""
            return recipe_view(found.folder.name, found.commit(version), history, difference)
        except CtrlGenError as error:
            return error_text(error)

    def again(self, name: str | None, version: str | None, request: gradio.Request) -> tuple[str, Any]:
        """Queue the chosen version as a job, which becomes the chosen one."""
        try:
            user = self.page.user(request)
            job = self.recipes.again(user, name or "", version or "")
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        return self.page.told(user, job)

    def restore(self, name: str | None, version: str | None, request: gradio.Request) -> tuple[str, Any, str]:
        """Make the chosen version the newest one."""
        try:
            self.recipes.restore(self.page.user(request), name or "", version or "")
        except CtrlGenError as error:
            return error_text(error), gradio.skip(), gradio.skip()
        return SAID.format(text="This version is the newest one again."), *self.chosen(name, request)

    def delete(self, name: str | None, request: gradio.Request) -> tuple[str, Any]:
        """Delete the chosen recipe with its history; nothing for a deletion that was not confirmed."""
        if not name:
            return "", gradio.skip()
        try:
            deleted, _ = self.recipes.delete(self.page.user(request), name)
        except CtrlGenError as error:
            return error_text(error), gradio.skip()
        return SAID.format(text=f"Deleted: {escape(deleted)}"), self.names()


def number_of(text: str) -> int | None:
    """The number of a picture; None for an empty text. Raises RequestError."""
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise RequestError("$.picture", f"{text!r} is no number of a picture: they are counted from 0")
    return int(text)


def text_difference(found: RecipeFolder) -> str:
    """What the newest version of a recipe changes in its YAML; empty for nothing."""
    try:
        return compare_versions(found, found).text
    except RequestError:
        return ""
