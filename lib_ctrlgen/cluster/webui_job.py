"""Cells of a headless job as jobs of a WebUI's tuner: which of them fit into one, and what is posted.

Cells that differ in a few numbers and texts become one axis over all those places at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from msgspec import Struct

from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.sampler_names import AUTOMATIC
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, parse_request, to_payload

from .actor import Sent

Payload: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, ...]

OWN = ("prompt", "negative_prompt", "steps", "width", "height", "seed")
FIXED = {("batch_size",)}
LONGEST = 1000  # characters of a value that may stand on an axis; pictures do not
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, kw_only=True)
class WebUIJob:
    """What is posted, and for each cell's key its place on the axis."""

    body: Payload
    places: Mapping[str, int]
    seeds: Mapping[str, int]


def jobs_of(cells: Sequence[Sent], encoder: str = "") -> Iterator[WebUIJob]:
    """As few jobs as possible for these cells; `encoder` names the one that measures likeness."""
    groups: dict[str, dict[str, Payload]] = {}
    for key, payload in cells:
        said = whole(parse_request(dict(payload), GenerationRequest))
        groups.setdefault(same_in(said), {})[key] = said
    return (job_of(group, encoder) for group in groups.values())


def job_of(group: Mapping[str, Payload], encoder: str = "") -> WebUIJob:
    """One job of cells that differ in what an axis can hold only."""
    leaves = {key: dict(places(said)) for key, said in group.items()}
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
    body = {"tab": "txt2img", "request": request_of(base), "tune": tune}
    return WebUIJob(body=body, places=at, seeds={key: int(said["seed"]) for key, said in group.items()})


def request_of(said: Payload) -> Payload:
    """A headless request in the words of `/sdapi/v1/txt2img`."""
    scale = said["cfg_scale"]
    controls = {name: said[name] for name in ControlRequest.__struct_fields__ if said[name]}
    if not isinstance(scale, str):
        controls.pop("cfg_scale", None)  # the WebUI's own number says it
    settings = {"sd_model_checkpoint": said["model"]}
    if said["pad_cond_uncond"]:
        settings["pad_cond_uncond"] = True
    return {
        **{name: said[name] for name in OWN},
        "sampler_name": said["sampler"],
        "scheduler": said["scheduler"],
        "cfg_scale": 7.0 if isinstance(scale, str) else float(scale),
        "override_settings": settings,
        "alwayson_scripts": {"CtrlGen": {"args": [controls]}},
    }


def whole(part: Struct) -> Payload:
    """A request as JSON types with every default; models that are paths by the names that WebUIs have."""
    said = to_payload(part, whole=True)
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, Struct):
            said[name] = whole(value)
        elif isinstance(value, tuple) and value and all(isinstance(item, Struct) for item in value):
            said[name] = [whole(item) for item in value]
    if isinstance(part, GenerationRequest):  # the WebUI takes an unknown name for its first sampler
        said["sampler"], scheduler = part.sampling
        said["scheduler"] = scheduler or AUTOMATIC
    if isinstance(said.get("model"), str) and PurePath(said["model"]).is_absolute():
        path, digest = split_hash(said["model"])
        said["model"] = PurePath(path).stem + (f" [{digest}]" if digest else "")
    return said


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every number, text or empty part of JSON-like data, with its path.

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


def same_in(said: Payload) -> str:
    """What cells of one job have in common: all places, and what stands in those that no axis can change."""
    return _text([[at, None if on_axis(at, value) else ["is", value]] for at, value in places(said)])


def on_axis(at: Place, value: Any) -> bool:
    """Whether a place may be changed by an axis."""
    plain = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= LONGEST)
    return plain and at not in FIXED and all(PLAIN_NAME.fullmatch(name) for name in at)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
