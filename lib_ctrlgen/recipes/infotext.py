"""Makes recipes from infotexts, and infotexts from recipes, which the WebUI pastes into its fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.compat.infotext import read_infotext
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.infotext import KEY
from lib_ctrlgen.images.control_pictures import control_picture_hash
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.pictures import EMBEDDINGS, pictured_parts
from lib_ctrlgen.request.sampler_names import AUTOMATIC
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, parse_request

from .content import FOLDER, MISSING, NAMED, Payload, Recipe, normal_job, replace_pictures
from .reading import read_settings

MARKS = ("sha:", "sha256:")
DIGITS = 12
SIZE = "Size"
DROPPED = frozenset({"Version", KEY, "Model", "Model hash"})
# The fields of a job by the entries of an infotext that hold them.
ENTRIES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "Sampler": ("sampler", str),
    "Schedule type": ("scheduler", str),
    "CFG scale": ("cfg_scale", float),
    "Seed": ("seed", int),
    "Pad conds": ("pad_cond_uncond", lambda text: text == "True"),
}
CONTROLS = ("units", "prompt_weights", "hires_cfg_scale", "blend")

Find = Callable[[str], str]  # the picture of a hash as a data URL, empty if it is not known


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A recipe, and sentences on what of the generation it does not hold."""

    recipe: Recipe
    notes: tuple[str, ...] = ()


def recipe_of_infotext(text: str, find: Find, result: bytes = b"") -> Imported:
    """The recipe that an infotext of CtrlGen describes, its pictures found by their hashes.

    Raises RequestError if the infotext has no entry of CtrlGen, or one that is no request.
    """
    entry = read_infotext(text).fields.get(KEY, "")
    if not entry:
        raise RequestError("$.infotext", "it has no entry of CtrlGen: the picture was made without CtrlGen")
    control, notes = with_found(_json(entry), find)
    made = recipe_of(control, text, result)
    return Imported(recipe=made.recipe, notes=(*made.notes, *notes))


def recipe_of_job(text: str, find: Find, result: bytes = b"") -> Imported:
    """The recipe of the request that `ctrlgen run` writes into a picture as JSON. Raises RequestError."""
    job, notes = with_found(_json(text), find)
    return Imported(recipe=Recipe(job=normal_job(job), result=result), notes=tuple(notes))


def _json(text: str) -> Payload:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("$.infotext", f"the entry of CtrlGen is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise RequestError("$.infotext", "the entry of CtrlGen is no request")
    return found


def recipe_of(control: Mapping[str, Any], text: str, result: bytes = b"") -> Imported:
    """The recipe of a generation in the WebUI: its request for CtrlGen, and its infotext for the rest.

    What a job has no field for, or does not accept (an unknown sampler), is kept as a setting of the WebUI.
    Raises RequestError for a wrong request.
    """
    parse_request(dict(control), ControlRequest)
    info = read_infotext(text)
    fields, notes = _job_fields(info.fields, scheduled="cfg_scale" in control)
    used = {name for name, (field, _) in ENTRIES.items() if field in fields} | DROPPED
    used |= {SIZE} if "width" in fields else set()
    prompts = {"prompt": info.prompt, "negative_prompt": info.negative_prompt}
    job = normal_job({**prompts, **fields, **control})
    kept = {name: value for name, value in info.fields.items() if name not in used}
    made = Recipe(job=job, settings=read_settings(kept), result=result)
    return Imported(recipe=made, notes=tuple(notes))


def _job_fields(entries: Mapping[str, str], *, scheduled: bool) -> tuple[Payload, list[str]]:
    """The fields of a job in the entries of an infotext, and a note for each that a job does not accept."""
    found: Payload = {}
    for name, (field, kind) in ENTRIES.items():
        if name in entries and not (scheduled and field == "cfg_scale"):
            try:
                found[field] = kind(entries[name])
            except ValueError:
                found[field] = entries[name]
    width, _, height = entries.get(SIZE, "").partition("x")
    if width.isdigit() and height.isdigit():
        found |= {"width": int(width), "height": int(height)}
    if model := entries.get("Model", ""):
        digest = entries.get("Model hash", "")
        found["model"] = f"{model} [{digest}]" if digest else model
    return _accepted(found)


def _accepted(fields: Payload) -> tuple[Payload, list[str]]:
    """The fields without those that a job does not accept, and a note for each of these."""
    try:
        parse_request(fields, GenerationRequest)
    except RequestError as error:
        name = error.path.removeprefix("$.").partition(".")[0]
        if name not in fields:
            raise
        left_out = ("width", "height") if name in ("width", "height") else (name,)
        kept, notes = _accepted({each: fields[each] for each in fields if each not in left_out})
        return kept, [f"`ctrlgen run` uses another {name} than the WebUI: {error.message}", *notes]
    return fields, []


def with_found(request: Payload, find: Find) -> tuple[Payload, list[str]]:
    """A request with its pictures in place of their hashes, and a note for each that is missing.

    A missing picture is named `pictures/HASH.missing`, a missing embedding is left out.
    """
    found, notes = deepcopy(request), []

    def picture(mark: str, path: str) -> str:
        digest = mark.rpartition(":")[2]
        if not mark.startswith(MARKS) or not NAMED.fullmatch(name := f"{FOLDER}/{digest}.{MISSING}"):
            raise RequestError(path, f"expected the hash of a picture, got {mark[:60]!r}")
        if known := find(digest):
            return known
        notes.append(f"{path}: the picture {digest} is missing")
        return name

    replace_pictures(found, picture)
    for path, part in pictured_parts(found):
        lost = [name for name in EMBEDDINGS if part.pop(name, None)]
        notes += [f"{path}.{name}: the embedding is missing" for name in lost]
    return found, notes


def infotext_of(recipe: Recipe) -> str:
    """The infotext of a recipe, as the WebUI pastes it; the request of CtrlGen is an entry of it."""
    request = parse_request(recipe.job, GenerationRequest)
    sampling, (model, digest) = request.sampling, split_hash(request.model)
    fields = {
        "Steps": request.steps,
        "Sampler": sampling.sampler,
        "Schedule type": sampling.scheduler or AUTOMATIC,
        "CFG scale": f"{request.cfg_scale(0.0):g}",
        "Seed": request.seed,
        SIZE: f"{request.width}x{request.height}",
        **({"Model hash": digest} if digest else {}),
        "Model": model,
        **({"Pad conds": True} if request.pad_cond_uncond else {}),
        **recipe.settings,
    }
    if control := control_entry(recipe.job):
        fields[KEY] = json.dumps(control, ensure_ascii=False, separators=(",", ":"))
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    entries = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items())
    return f"{request.prompt}{negative}\n{entries}"


def _quoted(text: str) -> str:
    """A value as the WebUI writes it into an infotext."""
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text


def control_entry(job: Payload) -> Payload:
    """The request of CtrlGen in a job, with hashes in place of its pictures and without embeddings."""
    found = {name: deepcopy(job[name]) for name in CONTROLS if job.get(name)}
    if isinstance(job.get("cfg_scale"), str):  # a schedule, for which the WebUI has no field
        found["cfg_scale"] = job["cfg_scale"]

    def mark(picture: str, _path: str) -> str:
        known = NAMED.fullmatch(picture) if len(picture) < 64 else None
        return f"sha:{known['hash'] if known else control_picture_hash(picture)}"

    replace_pictures(found, mark)
    for _, part in pictured_parts(found):
        for name in EMBEDDINGS:
            part.pop(name, None)
    return found
