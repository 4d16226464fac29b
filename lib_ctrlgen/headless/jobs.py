"""Job files: a GenerationRequest in YAML or JSON whose images are files. It does not import torch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError, below
from lib_ctrlgen.files import expanded
from lib_ctrlgen.images.control_pictures import decode_control_bytes
from lib_ctrlgen.request.field_types import type_at
from lib_ctrlgen.request.names import SUFFIXES, split_hash
from lib_ctrlgen.request.pictures import LISTS, PICTURES, pictured_parts
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.axes import replaced
from lib_ctrlgen.tuner.cells import TuneSpec

from .job_text import parse_value, read_mapping

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
LONGEST_PATH = 1024
DEEPEST = 16
SHORTEST_PICTURE = 64  # letters of base64; shorter texts are file names
QUOTES = "put a text with brackets, or one that looks like a number, in quotes"


class JobFile(GenerationRequest, frozen=True, kw_only=True):
    """A job file: a request whose pictures and models are files, and the values that `ctrlgen tune` tries.

    tune  a grid or a search over values of this job, for `ctrlgen tune`
    """

    tune: TuneSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """The request of a job file, the folders of the models that it names by path, and the fields in it."""

    request: GenerationRequest
    roots: tuple[Path, ...]
    fields: frozenset[str] = frozenset()


def read_job(path: Path, changes: Sequence[str] = ()) -> Job:
    """Read a job file; `changes` such as `units.0.weight=0.5` replace values in it.

    Images and models may be paths relative to the file. Raises RequestError.
    """
    content = apply_changes(read_mapping(path), changes)
    if content.get("tune") is not None:
        raise RequestError("$.tune", f"this job is a grid or a search: run it with `ctrlgen tune {path}`")
    content.pop("tune", None)
    folder = path.parent
    inlined, roots = _inline_models(_inline_pictures(content, folder), folder)
    return Job(request=parse_job(inlined), roots=roots, fields=frozenset(inlined))


def parse_job(content: Mapping[str, Any]) -> GenerationRequest:
    """The request of a job. Raises RequestError, with a hint where a text needs quotes in YAML."""
    try:
        return parse_request(content, GenerationRequest)
    except RequestError as error:
        if not error.message.startswith("expected `str`, got"):
            raise
        raise RequestError(error.path, f"{error.message}: {QUOTES}") from error


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """A job file with a `tune` section: the request as JSON types, the section, the models' folders."""

    payload: dict[str, Any]
    tune: TuneSpec
    roots: tuple[Path, ...]


def read_tune_job(path: Path, changes: Sequence[str] = ()) -> TuneJob:
    """Read a job file for the tuner. Raises RequestError."""
    content = apply_changes(read_mapping(path), changes)
    axes = content.pop("tune", None)
    if not isinstance(axes, dict):
        example = "tune: {x: {path: units.0.weight, values: 0-1 [5]}}"
        advice = (
            f"for example {example} (or `auto`, see docs/tuner.md); `ctrlgen run` makes the job's pictures"
        )
        raise RequestError("$.tune", f"the job has no axes, {advice}")
    with below("$.tune"):
        tune = parse_request(axes, TuneSpec)
    inlined, roots = _inline_models(_inline_pictures(content, path.parent), path.parent)
    parse_job(inlined)
    return TuneJob(payload=inlined, tune=tune, roots=roots)


def apply_changes(content: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """A copy with `path=value` replaced; a path is names and numbers joined by dots.

    The value of a text field is taken as it is typed.

    >>> apply_changes({"units": [{"model": "edges"}]}, ["steps=8", "units.0.weight=1>0.2", "prompt=no. #1"])
    {'units': [{'model': 'edges', 'weight': '1>0.2'}], 'steps': 8, 'prompt': 'no. #1'}

    Raises RequestError for a path that does not exist.
    """
    result: Any = dict(content)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise RequestError("", f"--set takes PATH=VALUE, for example units.0.weight=0.5, not {change!r}")
        parts = path.split(".")
        if len(parts) > DEEPEST:
            raise RequestError("", f"--set: a path of {len(parts)} names is longer than any in a job")
        value = parse_value(text, _type_of(parts), f"--set {change}")
        result = replaced(result, parts, value, f"--set {path}")
    return dict(result)


def _type_of(parts: Sequence[str]) -> Any:
    """The type of a field in a job file, where a list of images may also be a folder or a pattern."""
    return list | str if parts[-1] in LISTS else type_at(JobFile, parts)


def _inline_pictures(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Replace every picture that is a file name by a data URL."""
    inlined = deepcopy(dict(content))
    for path, part in pictured_parts(inlined):
        part |= {
            name: read_picture(part[name], f"{path}.{name}", folder)
            for name in PICTURES
            if isinstance(part.get(name), str) and _is_file_name(part[name], folder)
        }
        part |= {
            name: read_pictures(part[name], f"{path}.{name}", folder) for name in LISTS if part.get(name)
        }
    return inlined


def read_pictures(named: Any, path: str, folder: Path) -> Any:
    """The images of a list field as data URLs; a text is a folder or a pattern, sorted by file name.

    Any other value is returned unchanged. Raises RequestError at `path`.
    """
    if isinstance(named, str):
        return [read_picture(str(file), path, folder) for file in matching(named, path, folder)]
    if not isinstance(named, list):
        return named
    return [
        read_picture(item, f"{path}[{number}]", folder)
        if isinstance(item, str) and _is_file_name(item, folder)
        else item
        for number, item in enumerate(named)
    ]


def matching(named: str, path: str, folder: Path) -> list[Path]:
    """The image files of a folder or of a pattern such as `frames/*.png`, sorted by name."""
    start = (folder / expanded(named)).absolute()
    try:
        if start.is_dir():
            found = [file for file in start.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
        else:
            pattern = str(start.relative_to(start.anchor))
            found = [file for file in Path(start.anchor).glob(pattern) if file.is_file()]
    except (OSError, ValueError) as error:
        raise RequestError(path, f"{start}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise RequestError(path, f"{start}: no picture found; name a folder, a pattern (*.png) or a list")
    return sorted(found)


def _is_file_name(text: str, folder: Path) -> bool:
    """Whether a text is a file name. An image in base64 is not: base64 contains no dots."""
    if not 0 < len(text) <= LONGEST_PATH or text.startswith("data:"):
        return False
    with suppress(OSError, ValueError):
        if (folder / expanded(text)).exists():
            return True
    return "." in text or len(text) < SHORTEST_PICTURE


def read_picture(name: str, path: str, folder: Path) -> str:
    """An image file as a data URL; `name` is relative to `folder`.

    Raises RequestError at `path` that names the file where it cannot be read or decoded.
    """
    file = folder / expanded(name)
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        raise RequestError(path, f"{file}: {getattr(error, 'strerror', None) or error}") from error
    try:
        decode_control_bytes(data, path)
    except RequestError as error:
        raise RequestError(error.path, f"{file}: {error.message}") from error
    kind = guess_type(file.name)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _inline_models(content: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Make model paths absolute, and collect the folders that contain them."""
    named = _absolute_model(content, folder)
    units = named.get("units")
    parts = [named]
    if isinstance(units, list):
        named["units"] = [_absolute_model(unit, folder) if isinstance(unit, dict) else unit for unit in units]
        parts += [unit for unit in named["units"] if isinstance(unit, dict)]
    if isinstance(named.get("blend"), dict):
        named["blend"] = _absolute_model(named["blend"], folder)
        parts.append(named["blend"])
    models = [split_hash(part["model"])[0] for part in parts if isinstance(part.get("model"), str)]
    roots = dict.fromkeys(Path(model).parent for model in models if Path(model).is_absolute())
    return named, tuple(roots)


def _absolute_model(part: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The unit, concept or request with its model's path made absolute, if it is a path."""
    model = part.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= LONGEST_PATH:
        return dict(part)
    name, digest = split_hash(model)
    path, behind = folder / expanded(name), f" [{digest}]" if digest else ""
    return {**part, "model": f"{path.resolve()}{behind}"} if _is_model(path) else dict(part)


def _is_model(path: Path) -> bool:
    """Whether a model file or a diffusers folder exists at this path. Raises no error for any path."""
    with suppress(OSError, ValueError):
        single = path.suffix.lower() in SUFFIXES and path.is_file()
        return single or (path / "model_index.json").is_file()
    return False
