"""The request: one type for the panel, the REST API, the command line and job files.

The classes are frozen msgspec Structs; validation, error paths and the JSON Schema come from their types.
Pictures are base64 or data URLs. Callers with files or arrays encode them first.

>>> request = parse_request({"units": [{"model": "edges", "weight": "1>0.2"}]})
>>> request.units[0].schedule(0.5)
0.6
>>> parse_request({"units": [{"model": "edges", "wieght": 1}]})  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
lib_ctrlgen.errors.UnknownFieldError: $.units[0].wieght: unknown field (nearest: weight, layer_weights, ...)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct, field

from lib_ctrlgen.errors import RequestError, UnknownFieldError, nearest

from .base import RANDOM_SEED, Spec, check_plain
from .blend import Blend
from .catalogue import choices, control_names
from .field_docs import described
from .field_types import is_struct, type_at
from .preprocessing import Param, preprocessing_schema
from .sampler_names import AUTOMATIC, SCHEDULERS, Choice, check_steps, choose, sampler_names
from .schedule import Schedule, constant, parse_schedule
from .unit import (
    ControlMode,
    ControlUnit,
    Feather,
    ImageSource,
    ResizeMode,
    Storage,
    Unit01,
)

__all__ = [
    "CFG_SCALE",
    "MAX_UNITS",
    "AnyRequest",
    "ControlMode",
    "ControlRequest",
    "ControlUnit",
    "Feather",
    "GenerationRequest",
    "ImageSource",
    "Param",
    "ResizeMode",
    "Storage",
    "Unit01",
    "json_schema",
    "parse_json",
    "parse_request",
    "to_payload",
]

Size: TypeAlias = Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]

MAX_UNITS = 64
CFG_SCALE = (1.0, 30.0)
PLACED = re.compile(r"(?P<message>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`)?", re.DOTALL)
UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
CHOICE = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)


def _check_guidance(name: str, scale: Schedule | None) -> None:
    """Raise RequestError at `name` for a guidance scale that leaves its range anywhere."""
    low, high = (1.0, 1.0) if scale is None else scale.bounds
    if low < CFG_SCALE[0] or high > CFG_SCALE[1]:
        raise RequestError(name, f"must stay within {CFG_SCALE[0]:g}..{CFG_SCALE[1]:g}, is {scale}")


def _seven() -> Schedule:
    return constant(7.0)


class ControlRequest(Spec, frozen=True, kw_only=True):
    """What CtrlGen does to a txt2img or img2img generation.

    units            the controls
    prompt_weights   values for the named weights of the prompts, `(neon sign:glow=1.2)`
    cfg_scale        the guidance scale, number or schedule, instead of the host's number
    hires_cfg_scale  the same in the hires pass of the WebUI; as in the first one when absent
    blend            two or more concepts in one picture, see `lib_ctrlgen.request.blend`
    """

    units: Annotated[tuple[ControlUnit, ...], Meta(max_length=MAX_UNITS)] = ()
    prompt_weights: dict[str, Schedule] = field(default_factory=dict)
    cfg_scale: Schedule | None = None
    hires_cfg_scale: Schedule | None = None
    blend: Blend | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.prompt_weights:
            check_plain("prompt_weights", name)
        for name in ("cfg_scale", "hires_cfg_scale"):
            _check_guidance(name, getattr(self, name))

    @property
    def acts(self) -> bool:
        """Whether the request changes a generation at all."""
        others = (self.prompt_weights, self.cfg_scale, self.hires_cfg_scale, self.blend)
        return bool(self.enabled_units or any(others))

    @property
    def enabled_units(self) -> tuple[tuple[int, ControlUnit], ...]:
        """The enabled units, each with its index in `units`."""
        return tuple((i, unit) for i, unit in enumerate(self.units) if unit.enabled)


class GenerationRequest(ControlRequest, frozen=True, kw_only=True):
    """A whole generation for the headless engine: controls, prompt, checkpoint, sampler, size, seed.

    model            a checkpoint by name or path: a single SD1.5, SD2 or SDXL file, or a diffusers folder
    prompt           what to draw
    negative_prompt  what to draw away from
    width            in pixels, a multiple of 8
    height           in pixels, a multiple of 8
    steps            of the sampler
    cfg_scale        the guidance scale, number or schedule
    sampler          by the WebUI's name or alias; a scheduler may follow, such as `DPM++ 2M Karras`
    scheduler        by the WebUI's name: the noise levels that the sampler steps over
    seed             of the first picture, -1 to draw one; picture `i` of a batch uses `seed + i`
    batch_size       pictures that are made at once
    pad_cond_uncond  the WebUI's setting "Pad prompt/negative prompt": the shorter of the two gets the empty
                     prompt behind it
    """

    model: str = "ctrlgen-tiny"
    prompt: str = ""
    negative_prompt: str = ""
    width: Size = 512
    height: Size = 512
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    cfg_scale: Annotated[Schedule, Meta(extra_json_schema={"default": 7})] = field(default_factory=_seven)
    sampler: Annotated[str, Meta(extra_json_schema={"enum": list(sampler_names())})] = "DPM++ 2M"
    scheduler: Annotated[str, Meta(extra_json_schema={"enum": list(SCHEDULERS)})] = AUTOMATIC
    seed: Annotated[int, Meta(ge=RANDOM_SEED, le=2**32 - 1)] = 0
    batch_size: Annotated[int, Meta(ge=1, le=64)] = 1
    pad_cond_uncond: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(self.sampling.sampler, self.steps)

    @property
    def sampling(self) -> Choice:
        """The sampler and the scheduler by their own names."""
        return choose(self.sampler, self.scheduler)


AnyRequest = TypeVar("AnyRequest", bound=Spec)


def parse_request(payload: object, kind: type[AnyRequest] = ControlRequest) -> AnyRequest:  # type: ignore[assignment]
    """Validate JSON-like data (dicts, lists, strings, numbers).

    Raises RequestError with the JSON path of the place; nothing else.
    """
    try:
        return msgspec.convert(payload, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _located(error, kind) from error
    except (RecursionError, OverflowError, UnicodeEncodeError) as error:
        raise RequestError("$", f"cannot be read: {error}") from error


def parse_json(text: str | bytes, kind: type[AnyRequest] = ControlRequest) -> AnyRequest:  # type: ignore[assignment]
    """Read a JSON text. Raises RequestError."""
    try:
        payload = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError("$", f"not JSON: {error}") from error
    return parse_request(payload, kind)


def to_payload(request: Struct, *, whole: bool = False) -> dict[str, Any]:
    """The request as JSON types, from which `parse_request` makes an equal request.

    Fields with default values are left out; with `whole`, only in units, blend and concepts.
    """
    filled = {
        name: value
        for name in request.__struct_fields__
        if not _is_default(request, name, value := getattr(request, name)) or whole
    }
    return {name: _payload_value(value) for name, value in filled.items()}


def json_schema(kind: type[Struct] = GenerationRequest) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a request; the descriptions are those of the docstrings' tables."""
    schema = described(msgspec.json.schema(kind, schema_hook=_schema), kind)
    if unit := schema["$defs"].get("ControlUnit"):
        unit["properties"]["control"]["enum"] = list(control_names())
        fields = unit["properties"]
        fields["preprocessor"] = preprocessing_schema(fields["preprocessor"])
    return schema


def _payload_value(value: Any) -> Any:
    if isinstance(value, Struct):
        return to_payload(value)
    if isinstance(value, Schedule):
        plain = value.constant
        return plain if plain is not None and value == constant(plain) else str(value)
    if isinstance(value, tuple):
        return [_payload_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _payload_value(item) for name, item in value.items()}
    return value


def _is_default(request: Struct, name: str, value: object) -> bool:
    info = _fields(type(request))[name]
    if info.default is not msgspec.NODEFAULT:
        return bool(value == info.default)
    return info.default_factory is not msgspec.NODEFAULT and bool(value == info.default_factory())


@lru_cache(maxsize=64)
def _fields(kind: type[Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """A struct's fields by name, cached: msgspec evaluates the annotations on each call."""
    return {info.name: info for info in msgspec.structs.fields(kind)}


def _decode(kind: type, value: Any) -> Any:
    if kind is Schedule:
        return parse_schedule(value)
    raise NotImplementedError(f"no decoder for {kind}")


def _schema(kind: type) -> dict[str, Any]:
    if kind is Schedule:
        example = "1@0, 1@0.3 ease-in-out, 0@0.6"
        return {"anyOf": [{"type": "number"}, {"type": "string", "examples": [example, "1>0.2"]}]}
    raise NotImplementedError(f"no schema for {kind}")


def _located(error: msgspec.ValidationError, kind: type[Struct]) -> RequestError:
    """Turn msgspec's error into a RequestError with the path and the names that would be right."""
    placed = PLACED.fullmatch(str(error))
    if placed is None:
        return RequestError("$", str(error))
    path, cause = placed["path"] or "$", error.__cause__
    if isinstance(cause, RequestError):
        return RequestError(f"{path}.{cause.path}" if cause.path else path, cause.message)
    if placed["key"]:
        return RequestError(path, "field names must be text")
    return _explained(path, placed["message"], type_at(kind, re.findall(r"\w+", path)))


def _explained(path: str, message: str, expected: Any) -> RequestError:
    """Add the known names to msgspec's message about an unknown field or value."""
    if unknown := UNKNOWN.fullmatch(message):
        known = getattr(_struct_in(expected), "__struct_fields__", ())
        name = unknown["name"]
        return UnknownFieldError(f"{path}.{name}", f"unknown field ({nearest(name, known)})")
    if missing := MISSING.fullmatch(message):
        return RequestError(f"{path}.{missing['name']}", "is required")
    if choice := CHOICE.fullmatch(message):
        return RequestError(
            path, f"unknown value {choice['value']!r} ({choices(choice['value'], get_args(expected))})"
        )
    return RequestError(path, message[:1].lower() + message[1:])


def _struct_in(annotation: Any) -> Any:
    """The first Struct type inside an annotation such as `tuple[Unit, ...] | None`."""
    if is_struct(annotation):
        return annotation
    return next((found for part in get_args(annotation) if (found := _struct_in(part))), None)
