"""Reads the job or story that a user sends: a file in YAML or JSON, with pictures as base64 or as uploads.

Nothing in a job names a file of the server: a picture is base64, a data URL, or the name of a file that was
sent with the job.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.job_text import parse_json_text, parse_yaml
from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, PICTURES, pictured_parts
from lib_ctrlgen.request.story_pictures import PICTURE, story_parts

MOST_VALUES = 100_000  # of a job; a short YAML text with aliases can stand for billions
LONGEST_NAME = 1024
SEND = "add it as a part of the form, or write the picture as base64 or a data URL"


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a user sends: its name, which is that of its part in a form, and where its pictures are.

    parts   the parts that hold pictures, with their JSON paths
    single  the fields of these parts with one picture
    many    those with a list of pictures
    """

    name: str
    parts: Callable[[Mapping[str, Any]], Iterable[tuple[str, dict[str, Any]]]]
    single: tuple[str, ...]
    many: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """For messages."""
        return f"the {self.name}"


JOB = Form(name="job", parts=pictured_parts, single=(*PICTURES, *EMBEDDINGS), many=LISTS)
STORY = Form(name="story", parts=story_parts, single=(PICTURE,))


def parse_posted(data: bytes, form: Form = JOB) -> dict[str, Any]:
    """The mapping in a YAML or JSON text. Raises RequestError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("$", f"{form.what} is no text: send UTF-8") from error
    parse = parse_json_text if text.lstrip().startswith("{") else parse_yaml
    content = parse(text, form.what)
    if not isinstance(content, Mapping):
        raise RequestError("$", f"{form.what} is a mapping of names to values, not {type(content).__name__}")
    require_few_values(content, form.what)
    return dict(content)


def require_few_values(content: Any, what: str = JOB.what) -> None:
    """Raise RequestError for a content whose values, each counted where it occurs, are too many."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count + len(waiting) > MOST_VALUES:
            raise RequestError("$", f"{what} has more than {MOST_VALUES} values")
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def with_uploads(content: Mapping[str, Any], files: Mapping[str, bytes], form: Form = JOB) -> dict[str, Any]:
    """The job or story with each name of an uploaded file replaced by the file as a data URL.

    Raises RequestError for a name without a file, and for a file that is not named.
    """
    made: dict[str, Any] = copied(content)
    used = set[str]()
    known = {file_name(name): data for name, data in files.items()}

    def read(value: Any, path: str) -> Any:
        name = file_name(value) if names_a_file(value) else ""
        if not name:
            return value
        if name not in known:
            raise RequestError(path, f"no file {name!r} was sent with {form.what}: {SEND}")
        used.add(name)
        kind = guess_type(name)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(known[name]).decode('ascii')}"

    for path, part in form.parts(made):
        part |= {name: read(part[name], f"{path}.{name}") for name in form.single if name in part}
        part |= {
            name: [read(each, f"{path}.{name}[{index}]") for index, each in enumerate(part[name])]
            for name in form.many
            if isinstance(part.get(name), list)
        }
    if unused := known.keys() - used:
        raise RequestError(
            "$", f"no picture of {form.what} is the uploaded file {min(unused)!r}: name it there"
        )
    return made


def names_a_file(value: Any) -> bool:
    """Whether a picture's value is a name: base64 has no dot, and JSON begins with a bracket."""
    short = isinstance(value, str) and 0 < len(value) < LONGEST_NAME
    return short and "." in value and not value.startswith(("data:", "{", "["))


def file_name(path: str) -> str:
    """The last part of a path, by which an upload is named: `pictures/a.png` and `a.png` are one file."""
    return PurePosixPath(path.replace("\\", "/")).name


def copied(value: Any) -> Any:
    """A copy in which nothing is shared, of mappings and lists."""
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    return [copied(each) for each in value] if isinstance(value, list) else value


def shown_settings(payload: Mapping[str, Any], form: Form = JOB) -> dict[str, Any]:
    """The job or story with a hash in the place of each picture and saved embedding."""
    made: dict[str, Any] = copied(payload)
    for _, part in form.parts(made):
        part |= {name: shown(part[name]) for name in form.single if part.get(name)}
        part |= {name: list(map(shown, part[name])) for name in form.many if isinstance(part.get(name), list)}
    return made


def shown(picture: Any) -> str:
    """The hash of a picture's text."""
    return f"sha256:{sha256(str(picture).encode('utf-8', 'replace')).hexdigest()[:12]}"
