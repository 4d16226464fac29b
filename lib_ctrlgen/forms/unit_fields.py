"""Converts the values of a unit's fields to the request and back, without a host's modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.spec import ControlRequest, parse_json, parse_request

from .blend_fields import COUNT, blend_settings
from .box_fields import read_boxes, shown_boxes
from .init_images import Pictures, with_init
from .last_picture import with_last
from .param_fields import shown_params, unit_params, uploaded_fields, uploaded_params
from .param_values import PARAM_VALUES, read_param_values, stored_params, write_param_values
from .pose_fields import edited_pose
from .preprocessor_fields import preprocessor_settings, preprocessor_values
from .reference_fields import REFERENCE_FIELDS, REFERENCE_PICTURES, read_references, shown_weights
from .uploads import uploaded

Values: TypeAlias = Mapping[str, Any]
Payload: TypeAlias = dict[str, Any]

NO_MODEL = "None"
SLIDER_MAX = 2.0

# The fields of a unit's tab in the order of the script's arguments, with the values of an unused unit.
BASE_FIELDS: Payload = {
    "enabled": False,
    "image": None,
    "images": None,
    "use_init_image": False,
    "pose": "",
    "boxes": "",
    "model": NO_MODEL,
    "preprocessor": "none",
    "resolution": 0,
    "weight": 1.0,
    "weight_schedule": "",
    "hires": "",
    "guidance_start": 0.0,
    "guidance_end": 1.0,
    "control_mode": "balanced",
    "resize_mode": "crop_and_resize",
    "inpaint_crop": True,
    "mask": None,
    "masks": None,
    "mask_strength": "",
    "mask_feather": 0.0,
    "layer_weights": "",
    "params": "",
    PARAM_VALUES: "",
    "reuse": 1,
    "low_vram": "auto",
    "storage": "auto",
    **REFERENCE_FIELDS,
}
LOW_VRAM = {"auto": None, "on": True, "off": False}

# The fields that an infotext does not restore, beside those of `uploaded_fields`.
PICTURE_FIELDS = (
    frozenset({"image", "images", "use_init_image", "pose", "mask", "masks"}) | REFERENCE_PICTURES
)

# The fields for the whole generation, which come before the units in the script's arguments.
WHOLE_FIELDS: Payload = {"cfg_scale": "", "hires_cfg_scale": "", "prompt_weights": ""}

# They are followed by the fields of the blend, and then by those of the units.
UNITS_FROM = len(WHOLE_FIELDS) + COUNT

# The fields that have the same name and meaning in the panel and in a request.
SAME_FIELDS = (
    "enabled",
    "model",
    "guidance_start",
    "guidance_end",
    "control_mode",
    "resize_mode",
    "inpaint_crop",
    "mask_feather",
    "reuse",
    "storage",
    "combine",
)


def unit_fields() -> Payload:
    """Every field of a unit with its default, in the order of the script's arguments."""
    return BASE_FIELDS | dict.fromkeys(uploaded_fields())


def read_request(
    args: Sequence[Any], init: Pictures = (), count: int = 1, last: Image.Image | None = None
) -> ControlRequest:
    """The request in a script's arguments: the first argument if it is given, else the panel's values.

    The first argument is a dict (REST) or a JSON text. `init` are the img2img pictures of a generation of
    `count` pictures, `last` is the last picture that the host made. Raises RequestError.
    """
    return with_last(with_init(stated_request(args), init, count), last)


def stated_request(args: Sequence[Any]) -> ControlRequest:
    """The request in a script's arguments, before img2img pictures are filled in. Raises RequestError."""
    first, *panel = args or (None,)
    if first is None or first == "":
        whole = whole_settings(panel, pictures=True)
        return parse_request(whole | {"units": panel_units(panel)})
    if any(isinstance(other, dict) for other in panel):
        raise RequestError("$", "send one object; several units go into its list: {'units': [{...}, {...}]}")
    return parse_json(first) if isinstance(first, str) else parse_request(first)


def read_settings(panel: Sequence[Any]) -> ControlRequest:
    """The panel's units without their pictures, on which the plan does not depend. Raises RequestError."""
    return parse_request(whole_settings(panel) | {"units": enabled_units(panel, unit_settings)})


def whole_settings(panel: Sequence[Any], *, pictures: bool = False) -> Payload:
    """The panel's settings for the whole generation, without empty fields. Raises RequestError."""
    blend = blend_settings(panel[len(WHOLE_FIELDS) : UNITS_FROM], pictures=pictures)
    values = WHOLE_FIELDS | dict(zip(WHOLE_FIELDS, panel, strict=False))
    for name in WHOLE_FIELDS:
        if not isinstance(values[name] or "", str):
            raise RequestError(f"$.{name}", f"expected a text in the panel's field, got {values[name]!r}")
    scale, hires, weights = ((values[name] or "").strip() for name in WHOLE_FIELDS)
    named = [part.partition("=") for part in weights.split(";") if part.strip()]
    if any(not sign for _, sign, _ in named):
        raise RequestError("$.prompt_weights", "expected name=weight; name=weight, for example glow=1>0.5")
    scales = {"cfg_scale": scale, "hires_cfg_scale": hires}
    found: Payload = {name: text for name, text in scales.items() if text}
    given = {name.strip(): weight.strip() for name, _, weight in named}
    return found | blend | ({"prompt_weights": given} if given else {})


def whole_values(request: Values) -> Payload:
    """The panel's values for a request's whole generation: the inverse of `whole_settings`."""
    named = request.get("prompt_weights")
    pairs = named.items() if isinstance(named, dict) else ()
    return {
        "cfg_scale": str(request.get("cfg_scale", "")),
        "hires_cfg_scale": str(request.get("hires_cfg_scale", "")),
        "prompt_weights": "; ".join(f"{name}={weight}" for name, weight in pairs),
    }


def panel_units(panel: Sequence[Any]) -> list[Payload]:
    """The units of the panel's values, with their pictures. Raises RequestError."""
    return enabled_units(panel, unit_payload)


def unit_payload(values: Values, path: str) -> Payload:
    """One unit of the request, with its pictures. Raises RequestError at the unit's fields."""
    unit = unit_settings(values, path) | unit_pictures(values, path)
    return unit | {"params": unit["params"] | uploaded_params(values, path)}


def at_index(unit: Payload, index: int) -> Payload:
    """A request with one unit at an index, behind units that are off: errors have the unit's own path."""
    return {"units": [*({"model": "", "enabled": False} for _ in range(index)), unit]}


def enabled_units(panel: Sequence[Any], read: Callable[[Values, str], Payload]) -> list[Payload]:
    """Each enabled unit, converted by `read`; a disabled unit becomes a placeholder."""
    units = [
        read(unit, f"$.units[{index}]") if unit["enabled"] else {"model": "", "enabled": False}
        for index, unit in enumerate(split_values(panel))
    ]
    return units if any(unit["enabled"] for unit in units) else []


def split_values(values: Sequence[Any]) -> Iterable[Payload]:
    """One dict per unit of the panel's values, which begin with `WHOLE_FIELDS` and the blend's."""
    names = tuple(unit_fields())
    for start in range(UNITS_FROM, len(values), len(names)):
        part = values[start : start + len(names)]
        yield BASE_FIELDS | dict(zip(names, part, strict=False))


def unit_settings(values: Values, path: str) -> Payload:
    """One unit of the request, without its pictures. Raises RequestError at the unit's fields."""
    if values["model"] in (None, "", NO_MODEL):
        raise RequestError(f"{path}.model", "choose a model in the unit's list, or switch the unit off")
    values = {**values, **read_param_values(values[PARAM_VALUES], f"{path}.params")}
    unit: Payload = {name: values[name] for name in SAME_FIELDS}
    if control := catalogue.control_without_model(values["model"]):
        unit |= {"model": "", "control": control}
    unit["weight"] = (values["weight_schedule"] or "").strip() or values["weight"]
    unit |= {name: text for name in ("hires", "mask_strength") if (text := (values[name] or "").strip())}
    unit["low_vram"] = LOW_VRAM.get(values["low_vram"], values["low_vram"])
    unit |= preprocessor_settings(values, path)
    unit["params"] |= unit_params(values, path)
    if boxes := read_boxes(values["boxes"] or "", f"{path}.boxes"):
        unit["boxes"] = boxes
    layers = [part.strip() for part in (values["layer_weights"] or "").split(";") if part.strip()]
    return unit | ({"layer_weights": layers} if layers else {})


def unit_pictures(values: Values, path: str) -> Payload:
    """The unit's pictures. The img2img picture is used only if the panel asks for it."""
    masks = {"mask": _encode(values["mask"]), "masks": uploaded(values["masks"], f"{path}.masks")}
    others: Payload = masks | {"references": read_references(values, path)}
    pose = edited_pose(values, path)
    if values["use_init_image"]:
        return {"image_from": "init", "image": pose, **others}
    many = uploaded(values["images"], f"{path}.images")
    return {"image": pose or _encode(values["image"]), "images": many, **others}


def panel_values(unit: Values) -> Payload:
    """The panel's values for a unit of an infotext, without pictures.

    The inverse of `unit_settings`; fields that the unit leaves out get their defaults.
    """
    values = unit_fields() | {"enabled": True}
    values |= {name: value for name, value in unit.items() if name in BASE_FIELDS}
    if catalogue.without_model(str(unit.get("control", ""))):
        values["model"] = catalogue.family_entry(unit["control"]).without_model
    weight = unit.get("weight", 1.0)
    slides = isinstance(weight, (int, float)) and 0 <= weight <= SLIDER_MAX
    values |= (
        {"weight": float(weight), "weight_schedule": ""}
        if slides
        else {"weight": 1.0, "weight_schedule": str(weight)}
    )
    values |= {name: str(unit.get(name, "")) for name in ("hires", "mask_strength")}
    values["reference_weights"] = shown_weights(unit.get("references"))
    values["boxes"] = shown_boxes(unit.get("boxes"))
    values["layer_weights"] = "; ".join(map(str, unit.get("layer_weights") or ()))
    values["low_vram"] = {flag: name for name, flag in LOW_VRAM.items()}.get(unit.get("low_vram"), "auto")
    params = dict(unit.get("params", {}))
    values |= preprocessor_values(values["preprocessor"], params)
    values |= shown_params(params)
    own = stored_params().keys() & values.keys()
    values[PARAM_VALUES] = write_param_values({name: values.pop(name) for name in sorted(own)})
    hidden = PICTURE_FIELDS | uploaded_fields().keys()
    return {name: value for name, value in values.items() if name not in hidden}


def _encode(picture: Image.Image | str | None) -> str:
    """A picture encoded for the request; a REST client may have sent it as text already."""
    return encode_image(picture) if isinstance(picture, Image.Image) else picture or ""
