"""Parses job files (YAML or JSON) and values from the command line. It does not import torch.

Numbers are read as in YAML 1.2 (`010` is ten, `12:30` and `2024-01-01` are texts), and a key that occurs
twice in one mapping is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.field_types import alternatives, takes_nothing, takes_text, takes_text_only
from lib_ctrlgen.request.schedule import Schedule

INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
NUMBERS = {"tag:yaml.org,2002:int": INT, "tag:yaml.org,2002:float": FLOAT}
TIMESTAMP = "tag:yaml.org,2002:timestamp"
ODD_LINE_ENDS = ("\r", "\x85", "\u2028", "\u2029")
MERGE = "tag:yaml.org,2002:merge"
DEEP = "lists or mappings are nested too deeply"
HINTS = {
    "cannot start any token": "quote a text that begins with this character; indent with spaces, not tabs",
    "mapping values are not allowed": "quote a text that holds ': '",
}


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys and reads numbers as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _int(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 16 if node.value.startswith("0x") else 10)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in (*NUMBERS, TIMESTAMP)]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _int)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that quotes each text which this loader, or one of YAML 1.1, would not read as a text."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *_Loader.yaml_implicit_resolvers.get(first, ()),
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()),
    ]
    for first in {*_Loader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """A text; in double quotes, which escape them, if it has line ends that PyYAML reads as others."""
    style = '"' if any(end in text for end in ODD_LINE_ENDS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text_node)


def yaml_text(content: Mapping[str, Any]) -> str:
    """A job as YAML, which `parse_yaml` reads as the same values.

    >>> print(yaml_text({"prompt": "1e3", "units": [{"weight": 0.5}]}), end="")
    prompt: '1e3'
    units:
    - weight: 0.5
    """
    return str(yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def parse_yaml(text: str, what: str) -> Any:
    """Parse a YAML text. Raises RequestError whose message begins with `what`, line and column."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise RequestError("", f"{what}: not YAML: {DEEP}") from error
    except yaml.YAMLError as error:
        raise RequestError("", f"{what}{_place(error)}") from error
    except (ValueError, KeyError) as error:  # a number with thousands of digits; an invalid `!!bool`
        raise RequestError("", f"{what}: not YAML: {error}") from error


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    hint = next((f" ({text})" for sign, text in HINTS.items() if sign in problem), "")
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return f"{place}: not YAML: {problem}{hint}"


def parse_json_text(text: str, what: str) -> Any:
    """Parse a JSON text; what is not valid JSON (comments, trailing commas) is parsed as YAML.

    Raises RequestError whose message begins with `what`.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise RequestError("", f"{what}: the key {twice!r} occurs twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise RequestError("", f"{what}: not JSON: {DEEP}") from error
    except RequestError:
        raise
    except ValueError:
        return parse_yaml(text, what)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML or JSON file. Raises RequestError that names the file, line and column."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeError):
            raise RequestError("", f"{path}: not a text file: save it as UTF-8") from error
        raise RequestError("", f"{path}: {getattr(error, 'strerror', None) or error}") from error
    is_json = text.lstrip().startswith("{")
    content = parse_json_text(text, str(path)) if is_json else parse_yaml(text, str(path))
    if not isinstance(content, Mapping):
        raise RequestError(
            "", f"{path}: a job is a mapping such as 'prompt: a red star', not {_kind(content)}"
        )
    return dict(content)


def _kind(content: object) -> str:
    if content is None:
        return "an empty file"
    if isinstance(content, list):
        return "a list"
    return "a text" if isinstance(content, str) else "a single value"


def parse_value(text: str, annotation: Any, what: str) -> Any:
    """Parse a value that was typed as text, for a field of type `annotation` (None: unknown).

    Where the field takes only text, the value is that text, unchanged. Where it takes text and other types,
    numbers, true, false, null, [lists] and {mappings} are parsed as YAML. Raises RequestError whose message
    begins with `what`.

    >>> parse_value("a red circle #1", str, ""), parse_value("0.5", float | str, "")
    ('a red circle #1', 0.5)
    """
    if takes_text_only(annotation):
        return text
    texts = takes_text(annotation) or Schedule in alternatives(annotation)
    try:
        value = parse_yaml(text, what)
    except RequestError:
        if texts:
            return text
        raise
    if not texts or (value is None and takes_nothing(annotation)):
        return value
    return value if _fits(value, annotation) else text


def _fits(value: object, annotation: Any) -> bool:
    """Whether a parsed value that is not a text has one of the annotation's types."""
    if Schedule in alternatives(annotation):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds = {getattr(part, "__origin__", part) for part in alternatives(annotation)}
    own = {list, tuple} if isinstance(value, list) else {type(value)}
    return not own.isdisjoint(kinds) and not isinstance(value, str)
