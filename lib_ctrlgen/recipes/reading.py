"""Reads the files of a recipe, which a stranger may have made: every limit and every name is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from lib_ctrlgen.errors import RequestError, below
from lib_ctrlgen.headless.job_text import parse_yaml
from lib_ctrlgen.images.control_pictures import control_picture_hash
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.request.pictures import EMBEDDINGS, PICTURES
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .content import (
    MISSING,
    NAMED,
    RECIPE,
    WEBUI,
    Files,
    Payload,
    Recipe,
    data_url,
    is_file,
    is_path,
    model_parts,
    replace_pictures,
    result_name,
    result_of,
)

MEGABYTE = 1 << 20
LARGEST_TEXT = MEGABYTE
MOST_FILES = 500
LARGEST_FILE = 64 * MEGABYTE
LARGEST = 256 * MEGABYTE
MOST_VALUES = 20_000  # of a YAML file, which is read by Python
LONGEST_NAME = 64
DEEPEST = 20
MOST_SETTINGS, LONGEST_SETTING = 200, 20_000
SETTING = re.compile(r"\w[\w /-]{0,79}")  # a name that the WebUI reads in an infotext


def read_recipe(files: Files) -> Recipe:
    """The recipe in its files. Raises RequestError at the place in the job or with the name of the file.

    Beside the request's own checks: every picture is a file of the recipe, has the hash in its name and can
    be decoded; models are names, not paths; the YAML has no aliases.
    """
    check_sizes({name: len(data) for name, data in files.items()})
    job = read_yaml(files, RECIPE)
    check_models(job)
    used: dict[str, str] = {}

    def inlined(name: str, path: str) -> str:
        if name not in used:
            used[name] = _picture(files, name, path)
        return used[name]

    replace_pictures(job, inlined)
    parse_request(job, GenerationRequest)
    found = (NAMED.fullmatch(picture) for picture in used.values() if len(picture) < LONGEST_NAME)
    missing = tuple(sorted({match["hash"] for match in found if match}))
    settings = read_settings(read_yaml(files, WEBUI)) if WEBUI in files else {}
    return Recipe(job=job, settings=settings, result=_result(files), missing=missing)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise RequestError for files that are no recipe's, too many or too large. `sizes` are in bytes."""
    if RECIPE not in sizes:
        raise RequestError("", f"there is no {RECIPE}: this is no recipe of CtrlGen")
    if len(sizes) > MOST_FILES or sum(sizes.values()) > LARGEST:
        most = f"{MOST_FILES} files and {LARGEST // MEGABYTE} MB"
        here = f"{len(sizes)} files and {sum(sizes.values()) // MEGABYTE} MB"
        raise RequestError("", f"a recipe has at most {most}; here are {here}")
    for name, size in sizes.items():
        if not is_file(name):
            raise RequestError("", f"{name!r} is no file of a recipe: share it with `ctrlgen recipes export`")
        limit = LARGEST_TEXT if name in (RECIPE, WEBUI) else LARGEST_FILE
        if size > limit:
            raise RequestError("", f"{name} is larger than {limit // MEGABYTE} MB")


def read_yaml(files: Files, name: str) -> Payload:
    """The mapping in a YAML file. Raises RequestError for aliases, too deep nesting and wrong YAML."""
    try:
        text = files[name].decode("utf-8-sig")
        _check_events(text, name)
    except UnicodeError as error:
        raise RequestError("", f"{name}: not a text in UTF-8") from error
    except yaml.YAMLError:
        pass  # parse_yaml says where
    found = parse_yaml(text, name)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise RequestError("", f"{name}: expected a mapping of names to values")
    return found


def _check_events(text: str, name: str) -> None:
    """Raise RequestError for aliases, which may repeat a part without end, and for too many values."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        if number > MOST_VALUES:
            raise RequestError("", f"{name}: it has more than {MOST_VALUES} values")
        if isinstance(event, yaml.AliasEvent):
            raise RequestError("", f"{name}: a recipe has no aliases (*{event.anchor})")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise RequestError("", f"{name}: lists or mappings are nested more than {DEEPEST} deep")


def check_models(job: Payload) -> None:
    """Raise RequestError for a model that is named by a path, which would be another computer's."""
    message = "a recipe names models by their names, not by paths"
    for path, part in model_parts(job):
        if isinstance(part.get("model"), str) and is_path(part["model"]):
            raise RequestError(f"{path}.model", message)
        params = part.get("params")
        for name, value in params.items() if isinstance(params, dict) else ():
            if isinstance(value, str) and name not in (*PICTURES, *EMBEDDINGS) and is_path(value):
                raise RequestError(f"{path}.params.{name}", message)


def _picture(files: Files, name: str, path: str) -> str:
    """A picture of a job as a data URL; a missing one keeps its name."""
    match = NAMED.fullmatch(name)
    if match is None:
        shown = name if len(name) < 80 else f"{name[:60]}..."
        raise RequestError(path, f"{shown!r} is no picture of the recipe: they are named pictures/HASH.png")
    if name not in files:
        return f"pictures/{match['hash']}.{MISSING}"
    picture = data_url(files[name], name.rpartition(".")[2])
    with below(path):
        found = control_picture_hash(picture)
    if found != match["hash"]:
        raise RequestError(path, f"{name} has the hash {found}: it is not the picture that the recipe names")
    return picture


def read_settings(content: Mapping[str, Any]) -> dict[str, str]:
    """The entries of `webui.yaml`. Raises RequestError for what is no entry of an infotext."""
    if len(content) > MOST_SETTINGS:
        raise RequestError("$.settings", f"there are at most {MOST_SETTINGS} settings")
    for name, value in content.items():
        if not isinstance(value, str) or len(value) > LONGEST_SETTING:
            raise RequestError(f"$.settings.{name}", f"expected a text of at most {LONGEST_SETTING} letters")
        if not SETTING.fullmatch(name):
            raise RequestError("$.settings", f"{name[:80]!r} is no name of a setting in an infotext")
    return dict(content)


def _result(files: Files) -> bytes:
    """The bytes of the result picture, decoded once. Raises RequestError."""
    name = result_of(files)
    if not name:
        return b""
    if result_name(files[name]) != name or sum(each.startswith("result.") for each in files) > 1:
        raise RequestError("$.result", f"{name} has another format than its name, or there are several")
    decode_bytes(files[name], "$.result")
    return files[name]
