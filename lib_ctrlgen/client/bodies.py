"""Bodies of the WebUI's routes, made of requests of CtrlGen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

from msgspec import Struct

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.sampler_names import AUTOMATIC
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, to_payload

from .pictures import with_sent_pictures

Payload: TypeAlias = dict[str, Any]
Controls: TypeAlias = "ControlRequest | Mapping[str, Any] | None"

SCRIPTS, TITLE = "alwayson_scripts", "CtrlGen"
OWN = ("prompt", "negative_prompt", "steps", "width", "height", "seed")
PARTS = ("units", "prompt_weights", "hires_cfg_scale", "blend")


def body_of(request: Controls, fields: Mapping[str, Any]) -> Payload:
    """The body of a generation: a request of CtrlGen, and fields of the WebUI's route, which come first.

    A `GenerationRequest` also gives the prompt, the checkpoint, the sampler, the size and the seed. Raises
    RequestError.
    """
    if isinstance(request, GenerationRequest):
        body = generation_body(request)
    else:
        body = with_controls({}, controls_of(request))
    scripts = {**body.get(SCRIPTS, {}), **fields.get(SCRIPTS, {})}
    if len({name.casefold() for name in scripts}) < len(scripts) or (
        body.get(SCRIPTS) and any(name.casefold() == TITLE.casefold() for name in fields.get(SCRIPTS, {}))
    ):
        raise RequestError(f"$.{SCRIPTS}.{TITLE}", "is there beside the request: give one of them")
    return {**body, **fields, **({SCRIPTS: scripts} if scripts else {})}


def controls_of(request: Controls) -> Payload:
    """A request as JSON types; pictures may be files and images in a mapping. Raises RequestError."""
    if request is None:
        return {}
    if not isinstance(request, ControlRequest):
        return with_sent_pictures(request)
    fields = with_listed_names(to_payload(request))
    return {name: fields[name] for name in ControlRequest.__struct_fields__ if name in fields}


def with_controls(body: Mapping[str, Any], controls: Payload) -> Payload:
    """A body with the request for CtrlGen's script; unchanged for an empty request."""
    return {**body, SCRIPTS: {TITLE: {"args": [controls]}}} if controls else dict(body)


def generation_body(request: GenerationRequest) -> Payload:
    """A headless request as a body of `/sdapi/v1/txt2img`, without the fields that have default values."""
    brief = with_listed_names(to_payload(request))
    fields = whole(request) | {name: brief.get(name) for name in PARTS}
    body = request_body(fields) | {"batch_size": request.batch_size}
    if body[SCRIPTS][TITLE]["args"] == [{}]:
        del body[SCRIPTS]
    return body


def request_body(fields: Mapping[str, Any]) -> Payload:
    """The fields of a headless request as a body of `/sdapi/v1/txt2img`."""
    scale = fields["cfg_scale"]
    controls = {name: fields[name] for name in ControlRequest.__struct_fields__ if fields[name]}
    if not isinstance(scale, str):
        controls.pop("cfg_scale", None)  # the WebUI has a field for a constant scale
    settings = {"sd_model_checkpoint": fields["model"]}
    if fields["pad_cond_uncond"]:
        settings["pad_cond_uncond"] = True
    return {
        **{name: fields[name] for name in OWN},
        "sampler_name": fields["sampler"],
        "scheduler": fields["scheduler"],
        "cfg_scale": 7.0 if isinstance(scale, str) else float(scale),
        "override_settings": settings,
        SCRIPTS: {TITLE: {"args": [controls]}},
    }


def whole(part: Struct) -> Payload:
    """A request as JSON types with all defaults; models that are paths get the names that WebUIs list."""
    fields = to_payload(part, whole=True)
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, Struct):
            fields[name] = whole(value)
        elif isinstance(value, tuple) and value and all(isinstance(item, Struct) for item in value):
            fields[name] = [whole(item) for item in value]
    if isinstance(part, GenerationRequest):  # for an unknown name the WebUI uses its first sampler
        fields["sampler"], scheduler = part.sampling
        fields["scheduler"] = scheduler or AUTOMATIC
    return with_listed_names(fields)


def with_listed_names(fields: Mapping[str, Any]) -> Payload:
    """JSON-like data in which models that are absolute paths have the names that WebUIs list.

    >>> with_listed_names({"units": [{"model": "/models/edges.safetensors [0123abcd]"}]})
    {'units': [{'model': 'edges [0123abcd]'}]}
    """
    found = {name: _with_names(value) for name, value in fields.items()}
    model = found.get("model")
    if isinstance(model, str) and PurePath(model).is_absolute():
        path, digest = split_hash(model)
        found["model"] = PurePath(path).stem + (f" [{digest}]" if digest else "")
    return found


def _with_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return with_listed_names(value)
    return [_with_names(each) for each in value] if isinstance(value, list) else value
