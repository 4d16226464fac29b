"""The environments in which a product is shown: built-in ones, or those of a file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, structs
from msgspec.structs import replace

from lib_ctrlgen.errors import HostError, RequestError, below
from lib_ctrlgen.headless.job_text import parse_yaml
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.spec import parse_request

from .settings import ProductSettings

FIELD = "{product}"
MOST = 1000
LONGEST_NAME = 60
NUMBERS = ("x", "y", "share")
YAML = (".yaml", ".yml", ".json")
OPTIONS = re.compile(r"(?P<prompt>.*?)\s\|\s*(?P<options>\w+=.*)")  # as in `on a rock | x=0.4`
BUILT_IN = (
    "on a wooden kitchen table, morning light from a window",
    "on a marble counter in a bright bathroom",
    "on a desk beside a laptop, evening lamp",
    "on a picnic blanket in a park, summer sun",
    "on a rock at the sea, waves behind, golden hour",
    "on a shelf in a small shop, warm light",
    "on a snowy bench in a winter forest",
    "on a white studio background, soft shadow",
)
TINY_BUILT_IN = ("white", "red", "orange", "green", "blue", "black", "yellow", "purple")

Share = Annotated[float, Meta(ge=0, le=1)]


class Environment(Spec, frozen=True, kw_only=True):
    """One environment.

    prompt  a template: {product} becomes what the product is; without it, the product stands before it
    name    of its files; made from the prompt when empty
    depth   a depth picture of the empty environment, nearer is brighter; a plain room when empty
    x, y    the middle of the product as a share of width and height
    share   the longer side of the product as a share of the picture's side
    """

    prompt: str
    name: str = ""
    depth: str = ""
    x: Share = 0.5
    y: Share = 0.5
    share: Annotated[float, Meta(ge=0.1, le=1)] = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt.strip():
            raise RequestError("prompt", "is empty: say where the product is")

    def prompt_for(self, product: str) -> str:
        """The prompt of its pictures."""
        text = self.prompt.strip()
        return text.replace(FIELD, product) if FIELD in text else f"{product} {text}"


def environments_of(file: Path | None, settings: ProductSettings) -> tuple[Environment, ...]:
    """The environments of a file, or the built-in ones. Raises RequestError and HostError."""
    if file is None:
        return named(built_in(settings))
    return named(read_environments(file))


def built_in(settings: ProductSettings) -> list[Environment]:
    """The environments for those who name none: words that the checkpoint knows."""
    if not settings.is_tiny:
        return [Environment(prompt=text) for text in BUILT_IN]
    return [Environment(prompt=f"on {_article(each)} background", name=each) for each in TINY_BUILT_IN]


def _article(colour: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour}"


def read_environments(file: Path) -> list[Environment]:
    """The environments of a file: one a line, or YAML and JSON with a list of texts or of objects.

    Depth pictures are named relative to the file. Raises RequestError with the place, and HostError.
    """
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HostError(f"{file} is not UTF-8 text") from error
    except OSError as error:
        raise HostError(f"cannot read {file}: {error.strerror or error}") from error
    if file.suffix.lower() in YAML:
        return _parsed(parse_yaml(text, str(file)), file)
    return text_environments(text, str(file), file.parent)


def text_environments(text: str, where: str, folder: Path) -> list[Environment]:
    """One environment for each line that is not empty and does not begin with `#`.

    Behind a prompt may stand fields, as in `on a rock | depth=rock.png x=0.4`; depth pictures are named
    relative to `folder`. Raises RequestError with the line's number, counted from 1.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            with below(f"{where}, line {number}"):
                found.append(_of_line(line.strip(), folder))
    return _counted(found, where)


def _of_line(line: str, folder: Path) -> Environment:
    """The environment of one line. Raises RequestError at `$`, or at a field."""
    parts = OPTIONS.fullmatch(line)
    if parts is None:
        return Environment(prompt=line)
    fields: dict[str, Any] = {"prompt": parts["prompt"]}
    try:
        words = shlex.split(parts["options"])
    except ValueError as error:
        raise RequestError("", f"{parts['options']!r} cannot be read: {error}") from error
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise RequestError("", f"expected fields such as depth=rock.png, not {word!r} (quote spaces)")
        fields[name] = _number(value) if name in NUMBERS else value
    return _with_depth(parse_request(fields, Environment), folder)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def line_of(environment: Environment) -> str:
    """The line from which `text_environments` makes an equal environment, but for its name."""
    fields = {name: getattr(environment, name) for name in ("depth", *NUMBERS)}
    usual = {field.name: field.default for field in structs.fields(Environment)}
    given = [
        f"{name}={shlex.quote(value) if isinstance(value, str) else f'{value:g}'}"
        for name, value in fields.items()
        if value != usual[name]
    ]
    return " | ".join([environment.prompt, " ".join(given)] if given else [environment.prompt])


def _parsed(content: Any, file: Path) -> list[Environment]:
    listed = content.get("environments") if isinstance(content, dict) else content
    if not isinstance(listed, list):
        raise RequestError(str(file), "is no list of environments: one text or object (prompt, depth) each")
    found = []
    for number, each in enumerate(listed):
        with below(f"{file}[{number}]"):
            fields = {"prompt": each} if isinstance(each, str) else each
            found.append(_with_depth(parse_request(fields, Environment), file.parent))
    return _counted(found, str(file))


def _with_depth(environment: Environment, folder: Path) -> Environment:
    """The environment with the whole path of its depth picture. Raises RequestError."""
    if not environment.depth:
        return environment
    path = folder / environment.depth
    if not path.is_file():
        raise RequestError("$.depth", f"{path} is no file")
    return replace(environment, depth=str(path))


def _counted(found: list[Environment], where: str) -> list[Environment]:
    if not found:
        raise RequestError(where, "has no environments: write one a line, such as 'on a wooden table'")
    if len(found) > MOST:
        raise RequestError(where, f"has {len(found)} environments; {MOST} are the most")
    return found


def named(environments: Iterable[Environment]) -> tuple[Environment, ...]:
    """The environments with names that differ, and that files may have."""
    taken: set[str] = set()
    found = []
    for environment in environments:
        words = re.sub(r"[^\w]+", "-", environment.name or environment.prompt.replace(FIELD, ""))
        name = free = words.strip("-").lower()[:LONGEST_NAME].strip("-") or "environment"
        number = 1
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free)
        found.append(replace(environment, name=free))
    return tuple(found)
