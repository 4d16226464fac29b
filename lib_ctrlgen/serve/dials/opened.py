"""Requests that the page opens, and the request as a file: what it has no dial for is kept as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.serve.posted import require_few_values

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "scheduled.yaml"
NO_EXAMPLE = "this installation has no folder `examples`: install CtrlGen as docs/server.md says"


def example() -> dict[str, Any]:
    """The example stack with its pictures. Raises HostError where the folder `examples` is missing."""
    if not EXAMPLE.is_file():
        raise HostError(NO_EXAMPLE)
    return to_payload(read_job(EXAMPLE).request)


def openable(content: Any) -> dict[str, Any]:
    """A request whose parts are where the cards look for them; its values may still be wrong.

    Raises RequestError for a content of another form.
    """
    if not isinstance(content, Mapping):
        raise RequestError("$", f"the request is a mapping, not {type(content).__name__}")
    require_few_values(content)
    _require_json(content)
    _require_objects(content.get("units", []), "$.units")
    for index, unit in enumerate(content.get("units", [])):
        _require_objects(unit.get("references", []), f"$.units[{index}].references")
        if not isinstance(unit.get("params", {}), Mapping):
            raise RequestError(f"$.units[{index}].params", "expected an object")
    if content.get("blend") is not None:
        if not isinstance(content["blend"], Mapping):
            raise RequestError("$.blend", "expected an object")
        _require_objects(content["blend"].get("concepts", []), "$.blend.concepts")
    return dict(content)


def _require_json(content: Mapping[Any, Any]) -> None:
    """Raise RequestError for a content that JSON cannot carry to the page and back, such as NaN."""
    try:
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError("$", f"the request has a value that JSON cannot carry: {error}") from error


def _require_objects(value: Any, path: str) -> None:
    """Raise RequestError for a value that is no list of objects."""
    if not isinstance(value, list):
        raise RequestError(path, "expected a list")
    for index, each in enumerate(value):
        if not isinstance(each, Mapping):
            raise RequestError(f"{path}[{index}]", "expected an object")


def exported(content: Mapping[str, Any]) -> str:
    """The request as a job file in YAML, with its pictures in it."""
    return yaml_text(content)
