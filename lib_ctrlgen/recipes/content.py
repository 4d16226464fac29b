"""The files of one version of a recipe: made from a job with its pictures, read back, and checked.

| file | content |
| --- | --- |
| `recipe.yaml` | a job, as `ctrlgen run` reads it |
| `pictures/HASH.png` | a picture or pose that the job names; HASH is `control_picture_hash` |
| `webui.yaml` | entries of the WebUI's infotext that a job has no field for, such as those of hires-fix |
| `result.png` | the picture that was made |
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.images.control_pictures import control_picture_file, control_picture_hash
from lib_ctrlgen.images.files import picture_file
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.pictures import LISTS, PICTURES, pictured_parts
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload

Files: TypeAlias = Mapping[str, bytes]
Payload: TypeAlias = dict[str, Any]

RECIPE, WEBUI, FOLDER = "recipe.yaml", "webui.yaml", "pictures"
FORMATS = "png|jpeg|webp|bmp|gif|tiff|avif|mpo"
PICTURE = re.compile(rf"{FOLDER}/(?P<hash>[0-9a-f]{{12}})\.(?:{FORMATS}|json)")
RESULT = re.compile(r"result\.(?:png|jpeg|webp)")
MISSING = "missing"  # the suffix of a picture's name of which only the hash is known
NAMED = re.compile(rf"{FOLDER}/(?P<hash>[0-9a-f]{{12}})\.(?:{FORMATS}|json|{MISSING})")
EMPTY: tuple[object, ...] = (None, [], {})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe in memory.

    job       a GenerationRequest as JSON types, its pictures as data URLs
    settings  entries of the WebUI's infotext that a job has no field for
    result    the bytes of the picture that was made; empty for none
    missing   hashes of pictures that are not there; in the job they are named `pictures/HASH.missing`
    """

    job: Payload
    settings: Mapping[str, str] = field(default_factory=dict)
    result: bytes = b""
    missing: tuple[str, ...] = ()


def is_file(name: str) -> bool:
    """Whether a recipe may have a file of this name."""
    return name in (RECIPE, WEBUI) or bool(PICTURE.fullmatch(name) or RESULT.fullmatch(name))


def result_of(files: Files) -> str:
    """The name of the result picture among files; empty if there is none."""
    return next((name for name in sorted(files) if RESULT.fullmatch(name)), "")


def picture_name(picture: str, path: str) -> tuple[str, bytes]:
    """The name of a picture's file, and its bytes. Raises RequestError at `path`."""
    data, suffix = control_picture_file(picture, path)
    return f"{FOLDER}/{control_picture_hash(picture)}.{suffix}", data


def files_of(recipe: Recipe) -> dict[str, bytes]:
    """The files of a recipe. Raises RequestError at the place in the job, or `$.result`."""
    job = normal_job(recipe.job)
    files: dict[str, bytes] = {}

    def written(picture: str, path: str) -> str:
        if NAMED.fullmatch(picture):
            return picture  # one that is missing
        name, data = picture_name(picture, path)
        files[name] = data
        return name

    replace_pictures(job, written)
    files[RECIPE] = yaml_text(job).encode("utf-8")
    if recipe.settings:
        files[WEBUI] = yaml_text(dict(recipe.settings)).encode("utf-8")
    if recipe.result:
        files[result_name(recipe.result)] = recipe.result
    return files


def result_name(data: bytes) -> str:
    """The name of a result picture's file. Raises RequestError unless it is PNG, JPEG or WebP."""
    _, suffix = picture_file(data_url(data), "$.result")
    name = f"result.{suffix}"
    if not RESULT.fullmatch(name):
        raise RequestError("$.result", f"the result must be PNG, JPEG or WebP, not {suffix.upper()}")
    return name


def normal_job(job: Mapping[str, Any]) -> Payload:
    """A job as it is written: all fields of the generation, models without their folders.

    Raises RequestError.
    """
    named = deepcopy(dict(job))
    for _, part in model_parts(named):
        if isinstance(part.get("model"), str):
            part["model"] = without_folder(part["model"])
    found = to_payload(parse_request(named, GenerationRequest), whole=True)
    return {name: deepcopy(value) for name, value in found.items() if value not in EMPTY}


def without_folder(model: str) -> str:
    """The name of a model, of which a path is reduced to the file's name; a hash after it is kept."""
    name, digest = split_hash(model)
    if not is_path(name):
        return model
    name = PureWindowsPath(name).name
    return f"{name} [{digest}]" if digest else name


def is_path(name: str) -> bool:
    """Whether a model's name is an absolute path, or leads out of the folder that it is searched in."""
    kinds = PurePosixPath(name), PureWindowsPath(name)
    return any(path.is_absolute() or path.anchor or ".." in path.parts for path in kinds) or name[:1] == "~"


def model_parts(job: Payload) -> Iterator[tuple[str, Payload]]:
    """The parts of a job that name a model, with their JSON paths: the job, its blend and its units."""
    yield "$", job
    if isinstance(job.get("blend"), dict):
        yield "$.blend", job["blend"]
    units = job.get("units")
    for number, unit in enumerate(units if isinstance(units, list) else ()):
        if isinstance(unit, dict):
            yield f"$.units[{number}]", unit


def replace_pictures(job: Payload, named: Callable[[str, str], str]) -> None:
    """Replace each picture of a job by `named(picture, path)`. Raises RequestError if one is no text."""
    for path, part in pictured_parts(job):
        for name in PICTURES:
            if part.get(name):
                part[name] = named(_text(part[name], f"{path}.{name}"), f"{path}.{name}")
        for name in LISTS:
            if part.get(name):
                part[name] = [
                    named(_text(each, f"{path}.{name}[{number}]"), f"{path}.{name}[{number}]")
                    for number, each in enumerate(_list(part[name], f"{path}.{name}"))
                ]


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise RequestError(path, "expected a text")
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise RequestError(path, "expected a list of pictures")
    return value


def data_url(data: bytes, suffix: str = "png") -> str:
    """The bytes of a picture or a pose as a data URL."""
    kind = "application/json" if suffix == "json" else f"image/{suffix}"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
