"""Translates cells of a headless job to jobs of a WebUI's tuner.

Cells that differ only in some numbers and texts become one job, with one axis over all those fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.client.bodies import Payload, request_body, whole
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .actor import CellRequest

Place: TypeAlias = tuple[str, ...]

FIXED = {("batch_size",)}
LONGEST = 1000  # characters of a value that an axis may have; images are longer
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, kw_only=True)
class WebUIJob:
    """A job for the WebUI: the body to post and, by cell key, places on the axis and seeds."""

    body: Payload
    places: Mapping[str, int]
    seeds: Mapping[str, int]


def jobs_of(cells: Sequence[CellRequest], encoder: str = "") -> Iterator[WebUIJob]:
    """The jobs for these cells, as few as possible; `encoder` is the encoder that measures likeness."""
    groups: dict[str, dict[str, Payload]] = {}
    for key, payload in cells:
        fields = whole(parse_request(dict(payload), GenerationRequest))
        groups.setdefault(job_key(fields), {})[key] = fields
    return (job_of(group, encoder) for group in groups.values())


def job_of(group: Mapping[str, Payload], encoder: str = "") -> WebUIJob:
    """One job for cells that differ only in fields that an axis can change."""
    leaves = {key: dict(places(fields)) for key, fields in group.items()}
    first = next(iter(leaves.values()))
    varied = [at for at in first if len({_text(found[at]) for found in leaves.values()}) > 1] or [("steps",)]
    rows: dict[str, list[Any]] = {}
    at = {}
    for key, found in leaves.items():
        row = [found[place] for place in varied]
        at[key] = list(rows).index(_text(row)) if _text(row) in rows else len(rows)
        rows.setdefault(_text(row), row)
    values = [row[0] if len(varied) == 1 else row for row in rows.values()]
    base = next(iter(group.values()))
    axis = {"path": "+".join(map(".".join, varied)), "values": values}
    tune = {"x": axis, "seeds": base["batch_size"], "force": True} | ({"encoder": encoder} if encoder else {})
    body = {"tab": "txt2img", "request": request_body(base), "tune": tune}
    return WebUIJob(body=body, places=at, seeds={key: int(fields["seed"]) for key, fields in group.items()})


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every number, text or empty value in JSON-like data, with its path.

    >>> list(places({"units": [{"weight": 1}], "blend": None}))
    [(('units', '0', 'weight'), 1), (('blend',), None)]
    """
    inner = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    if not inner or not value:
        yield at, value
        return
    for name, part in inner:
        yield from places(part, (*at, str(name)))


def job_key(fields: Payload) -> str:
    """A text that is equal for cells of one job: all fields' paths, and the values that no axis changes."""
    return _text([[at, None if on_axis(at, value) else ["is", value]] for at, value in places(fields)])


def on_axis(at: Place, value: Any) -> bool:
    """Whether an axis can change the field at this path."""
    plain = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= LONGEST)
    return plain and at not in FIXED and all(PLAIN_NAME.fullmatch(name) for name in at)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
