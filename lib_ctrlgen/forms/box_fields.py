"""Reads the boxes of a unit from the panel's text field: lines, or the JSON of a request.

>>> read_boxes("0.1 0.2 0.5 0.8: a red circle", "$")
[{'box': [0.1, 0.2, 0.5, 0.8], 'text': 'a red circle'}]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError

Payload: TypeAlias = dict[str, Any]

NUMBER = r"([-+.0-9]+)"
# As in javascript/editors/boxes.js, which shows the boxes as rectangles.
LINE = re.compile(rf"\s*{NUMBER}[\s,]+{NUMBER}[\s,]+{NUMBER}[\s,]+{NUMBER}\s*:\s*(.*?)\s*")
EXAMPLE = "0.1 0.2 0.5 0.8: a red circle"


def read_boxes(text: str, path: str) -> list[Any]:
    """The boxes in a text, one a line, or as a JSON list. Raises RequestError at `path`."""
    if text.lstrip().startswith("["):
        return _listed(text, path)
    lines = [line for line in text.splitlines() if line.strip()]
    return [_box(line, f"{path}[{number}]") for number, line in enumerate(lines)]


def shown_boxes(boxes: Any) -> str:
    """The text of a request's boxes: lines, or JSON where they hold more. The inverse of `read_boxes`."""
    if not isinstance(boxes, Sequence) or not boxes:
        return ""
    if all(_is_plain(box) for box in boxes):
        return "\n".join(f"{' '.join(map(str, box['box']))}: {box['text']}" for box in boxes)
    return "[" + ",\n".join(json.dumps(box, ensure_ascii=False) for box in boxes) + "]"


def _listed(text: str, path: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(path, f"not JSON ({error})") from error
    if not isinstance(found, list):
        raise RequestError(path, "expected a list of boxes")
    return found


def _box(line: str, path: str) -> Payload:
    found = LINE.fullmatch(line)
    if found is None:
        raise RequestError(path, f"expected left top right bottom: phrase, for example {EXAMPLE}")
    try:
        edges = [float(part) for part in found.groups()[:4]]
    except ValueError as error:
        raise RequestError(path, f"expected four numbers from 0 to 1, for example {EXAMPLE}") from error
    return {"box": edges, "text": found[5]}


def _is_plain(box: Any) -> bool:
    """Whether a box has a place and a phrase alone, and the phrase fits into a line."""
    if not isinstance(box, Mapping) or set(box) != {"box", "text"}:
        return False
    text = box["text"]
    return isinstance(text, str) and text == text.strip() and len(text.splitlines()) == 1
