"""What the accordion "Recipes" does: makes a recipe of the panel, and fills the panel from a recipe."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from modules import shared

from lib_ctrlgen.compat.infotext import read_infotext
from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.forms.field_places import place_of
from lib_ctrlgen.forms.infotext import KEY, describe
from lib_ctrlgen.forms.picture_values import PictureFiles, concept_values, not_shown, picture_values
from lib_ctrlgen.forms.recipe_places import at_recipe
from lib_ctrlgen.forms.unit_fields import stated_request
from lib_ctrlgen.images.files import decode_base64
from lib_ctrlgen.recipes.content import Recipe
from lib_ctrlgen.recipes.infotext import Imported, infotext_of, recipe_of
from lib_ctrlgen.recipes.versions import RecipeFolder
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.spec import ControlRequest, to_payload
from lib_ctrlgen.webui.recipe_library import library
from lib_ctrlgen.webui.settings import model_store, unit_count

from .preview import error_html

ENTRY = "CtrlGen recipe"  # in an infotext: the recipe whose pictures follow it into the panel
TOKEN = re.compile(r"(?P<commit>[0-9a-f]{40})/(?P<time>\d+)/(?P<name>.+)", re.DOTALL)
NO_PICTURE = "saved without a picture: the gallery has none with an infotext"
OTHER = "saved without the gallery's picture, which was made with other units: generate, and save again"
HASH = re.compile(r" \[[0-9a-fA-F]{8,64}\]$")
OUTSIDE = ("init", "last")  # where a unit's picture is none of the panel's own


def recipe_of_panel(args: Sequence[Any], page: Mapping[str, Any]) -> Imported:
    """The recipe of the panel's values `args` and of what the page says, see ctrlgen_recipes.js.

    If the gallery's picture was made with the panel's units, the settings are those of its infotext;
    else they are the page's, and there is no result. Raises RequestError.
    """
    request = stated_request(args)
    text, notes = str(page.get("infotext") or ""), []
    entry = _entry(text)
    if text and _same_units(entry, request):
        control, result = _control(request, entry), decode_base64(str(page.get("picture")), "$.result")
    else:
        notes.append(OTHER if text else NO_PICTURE)
        control, result, text = _control(request, {}), b"", page_text(page)
    units = control.get("units", ())
    notes += [
        f"unit {number}: its picture from {unit['image_from']} is not saved, drop it onto the unit"
        for number, unit in enumerate(units)
        if unit.get("image_from") in OUTSIDE
    ]
    made = recipe_of(control, text, result)
    return Imported(recipe=made.recipe, notes=(*made.notes, *notes))


def page_text(page: Mapping[str, Any]) -> str:
    """An infotext of the page's fields and the loaded checkpoint."""
    info = shared.sd_model.sd_checkpoint_info
    fields = {**(page.get("fields") or {}), "Model": info.name_for_extra, "Model hash": info.shorthash or ""}
    entries = ", ".join(f"{name}: {json.dumps(str(value))}" for name, value in fields.items() if value)
    negative = f"\nNegative prompt: {page['negative_prompt']}" if page.get("negative_prompt") else ""
    return f"{page.get('prompt', '')}{negative}\n{entries}"


def _entry(text: str) -> dict[str, Any]:
    """CtrlGen's request in an infotext; empty if there is none."""
    try:
        found = json.loads(read_infotext(text).fields.get(KEY, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _same_units(entry: Mapping[str, Any], request: ControlRequest) -> bool:
    """Whether a picture with this entry was made with the panel's request."""
    asked = json.loads(describe(request))
    return bool(_comparable(entry, asked) == _comparable(asked, asked))


def _comparable(entry: Mapping[str, Any], asked: Mapping[str, Any]) -> Any:
    """An entry without what a generation fills in: hashes of models, seeds, pictures from elsewhere."""
    found = json.loads(json.dumps(entry), object_hook=_without_hashes)
    for number, unit in enumerate(asked.get("units") or ()):
        units = found.get("units") or []
        if unit.get("image_from") in OUTSIDE and number < len(units):
            units[number] = {k: v for k, v in units[number].items() if k not in ("image", "image_from")}
    for concept in (found.get("blend") or {}).get("concepts") or ():
        concept.pop("seed", None)
    return found


def _without_hashes(part: dict[str, Any]) -> dict[str, Any]:
    return {name: HASH.sub("", value) if isinstance(value, str) else value for name, value in part.items()}


def _control(request: ControlRequest, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The panel's request with its enabled units, their models named with hashes as the entry has them."""
    found = to_payload(request)
    units = [unit for unit in found.get("units", ()) if unit.get("enabled", True)]
    for number, unit in enumerate(units):
        recorded = dict(enumerate(entry.get("units") or ())).get(number, {})
        if unit.get("model"):
            unit["model"] = recorded.get("model") or _with_hash(unit["model"])
    return {**found, "units": units}


def _with_hash(model: str) -> str:
    """`name [hash]` of a model, or the name alone if there is no such file."""
    store = model_store()
    try:
        return store.files.label(store.resolve(model))
    except CtrlGenError:
        return model


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """The infotext of a recipe for the WebUI, and what to say about it."""

    text: str
    said: str


def pasted(name: str, version: str) -> Pasted:
    """A version of a recipe for the panel, by its hash; empty for the newest. Raises RequestError."""
    folder = library().find(name)
    commit = folder.commit(version)
    recipe = folder.read(commit)
    token = f"{commit}/{time.time_ns()}/{folder.folder.name}"
    text = f"{infotext_of(recipe)}, {ENTRY}: {json.dumps(token, ensure_ascii=False)}"
    model, digest = split_hash(str(recipe.job.get("model", "")))
    said = [f"made with the checkpoint {model} {digest}".strip(), *_left_out(recipe)]
    return Pasted(text=text, said="; ".join(said))


def _left_out(recipe: Recipe) -> list[str]:
    """What of a recipe does not come into the panel."""
    units = recipe.job.get("units", ())
    said = [f"the recipe does not hold the picture {digest}" for digest in recipe.missing]
    if len(units) > unit_count():
        said.append(f"it has {len(units)} units: raise the setting 'Units in the panel' to see all of them")
    for number, unit in enumerate(units):
        places = [place_of(f"$.units[{number}].{name}").label for name in not_shown(unit)]
        said += [f"upload the file of {label} again" for label in places]
    return said


def filled(fields: Sequence[str], token: str) -> list[Any]:
    """Nothing or an error as HTML, and the values of picture fields, for a pasted recipe's token."""
    try:
        values = pictures_of(token)
    except CtrlGenError as error:
        return [error_html(at_recipe(error)), *(gr.update() for _ in fields)]
    return ["", *(gr.update(value=values.get(name)) for name in fields)]


def pictures_of(token: str) -> dict[str, Any]:
    """The picture fields that follow a pasted recipe, by the ends of their elements' ids.

    Fields that the recipe has no picture for are left out or None. Raises RequestError.
    """
    match = TOKEN.fullmatch(token)
    if match is None:
        raise RequestError("", f"{token[:80]!r} names no recipe")
    recipe = RecipeFolder(library().find(match["name"]).folder).read(match["commit"])
    files = PictureFiles(temporary_folder())
    found: dict[str, Any] = {}
    for number, unit in enumerate(recipe.job.get("units", ())):
        values = picture_values(unit, files)
        found |= {f"unit{number}_{name}": value for name, value in values.items()}
    for number, concept in enumerate((recipe.job.get("blend") or {}).get("concepts", ())):
        values = concept_values(concept, files)
        found |= {f"concept{number}_{name}": value for name, value in values.items()}
    return found


@lru_cache(maxsize=1)
def temporary_folder() -> Path:
    """A folder of this process for the files of picture fields."""
    return Path(tempfile.mkdtemp(prefix="ctrlgen-recipes-"))
