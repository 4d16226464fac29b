"""Reads units of sd-webui-controlnet: objects of REST requests, and Python units of other extensions.

All that clients of its releases and of Forge send is understood: aliases, numbers and texts for enums, lists
of one. What differs from sd-webui-controlnet 1.1.455: `guidance` beside `guidance_end` is accepted; a wrong
value is a RequestError instead of a picture without control; a unit that says neither `enabled: true` nor
`enabled: false` is used if it names a module or a model (decision 0041).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from lib_ctrlgen.errors import RequestError, nearest
from lib_ctrlgen.request.notices import Notices

from .embeddings import read_embeddings
from .image_forms import read_images, read_picture
from .module_list import module_named
from .module_types import Module, Slider
from .unit import (
    DEFAULT_NUMBER,
    NO_MODEL,
    NO_MODULE,
    ControlNetUnit,
    OldResizeMode,
    UnionControlType,
)
from .values import (
    CONTROL_MODES,
    CONTROL_SPELLINGS,
    HIRES_OPTIONS,
    HIRES_SPELLINGS,
    PULID_MODES,
    PULID_SPELLINGS,
    UNION_SPELLINGS,
    UNION_TYPES,
    T,
    plain,
    read_choice,
    read_number,
    read_number_within,
    read_resize_mode,
    read_switch,
    read_text,
    shown,
)

ALIASES = {"guidance": "guidance_end", "lowvram": "low_vram", "input_image": "image", "mask_image": "mask"}
# Fields for batches of pictures and for AnimateDiff. A value other than an empty one changes pictures there.
BATCH_FIELDS = frozenset(
    {"loopback", "batch_images", "batch_mask_dir", "animatediff_batch", "batch_modifiers"}
    | {"batch_image_files", "batch_keyframe_idx"}
)
# Fields of the pages of sd-webui-controlnet and Forge, which say nothing about a request.
PAGE_FIELDS = frozenset(
    {"is_ui", "input_mode", "output_dir", "use_preview_as_input", "generated_image", "type_filter"}
    | {"batch_input_gallery", "batch_mask_gallery", "multi_inputs_gallery"}
)
OBSOLETE = {
    "guess_mode": "write control_mode instead",
    "guessmode": "write control_mode instead",
    "controlnet_units": "units go into alwayson_scripts.ControlNet.args",
}
FIELDS = frozenset({each.name for each in fields(ControlNetUnit)} - {"images"} | {"image", "mask"})
UNIT_ATTRIBUTES = ("enabled", "module", "model")
FORM = '{"enabled": true, "module": "canny", "model": "control_v11p_sd15_canny", "image": "..."}'
OFF = ControlNetUnit(enabled=False)


def read_units(values: Sequence[Any], path: str, notices: Notices) -> tuple[ControlNetUnit, ...]:
    """The units of a script's arguments, one for each; `path` is that of the list.

    None and an empty text become a disabled unit. Raises RequestError below `path`.
    """
    return tuple(
        OFF if _is_nothing(value) else read_unit(value, f"{path}[{number}]", notices)
        for number, value in enumerate(values)
    )


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", NO_MODULE))


def is_unit(value: Any) -> bool:
    """Whether a value can be read as a unit: a dict, or an object with a unit's attributes."""
    return isinstance(value, (Mapping, ControlNetUnit)) or all(
        hasattr(value, name) for name in UNIT_ATTRIBUTES
    )


def read_unit(value: Any, path: str, notices: Notices) -> ControlNetUnit:
    """The unit in a dict or in any object with a unit's attributes; `path` is its JSON path.

    Of a disabled unit nothing else is read. `notices` gets unknown and obsolete fields, and numbers that were
    replaced by the module's default. Raises RequestError at or below `path`.
    """
    if isinstance(value, ControlNetUnit):
        return value
    if not is_unit(value):
        raise RequestError(path, f"expected a unit, {FORM}, got {shown(value)}")
    given = dict(value) if isinstance(value, Mapping) else _attributes(value)
    if not _is_enabled(given, path, notices):
        return OFF
    if isinstance(value, Mapping):
        _note_unknown(given, path, notices)
    return _Reader(_without_aliases(given, path, notices), path, notices).unit()


def _attributes(value: Any) -> dict[str, Any]:
    """The fields of an object that another extension made."""
    return {name: getattr(value, name) for name in (*FIELDS, *ALIASES, "input_mode") if hasattr(value, name)}


def _is_enabled(given: Mapping[str, Any], path: str, notices: Notices) -> bool:
    """Whether a unit is to act; one that does not say it acts if it names a module or a model."""
    stated = plain(given.get("enabled"))
    if stated is not None:
        return read_switch(stated, f"{path}.enabled")
    named = (plain(given.get(name)) for name in ("module", "model"))
    used = any(str(each).strip().lower() not in ("none", "") for each in named)
    if used:
        message = "is not given: the unit is used. sd-webui-controlnet 1.1.448 and later would ignore it"
        notices.add(f"{path}.enabled", f"{message}; write true or false")
    return used


def _note_unknown(given: Mapping[Any, Any], path: str, notices: Notices) -> None:
    """Name the fields in a warning that are unknown, obsolete, or for batches only."""
    for name, value in ((str(key), value) for key, value in given.items()):
        if name in OBSOLETE:
            notices.add(f"{path}.{name}", f"is obsolete and not read: {OBSOLETE[name]}")
        elif name in BATCH_FIELDS:
            if value:
                notices.add(f"{path}.{name}", "is not read: send a request or a unit for each picture")
        elif name not in FIELDS | PAGE_FIELDS and name not in ALIASES:
            notices.add(f"{path}.{name}", f"unknown field, not read; {nearest(name, FIELDS, 1)}")


def _without_aliases(given: Mapping[str, Any], path: str, notices: Notices) -> dict[str, Any]:
    """The fields by their own names, without those that are None. A field wins over its alias."""
    found = {name: value for name, value in given.items() if value is not None}
    for alias, name in ALIASES.items():
        if alias not in found:
            continue
        value = found.pop(alias)
        if name not in found or found[name] is value:
            found[name] = value
        elif _differ(found[name], value):
            notices.add(f"{path}.{alias}", f"is not read, because '{name}' is there too")
    return found


def _differ(one: Any, other: Any) -> bool:
    plain_values = (str, int, float, bool)
    return not (isinstance(one, plain_values) and isinstance(other, plain_values) and one == other)


class _Reader:
    """Reads the fields of one enabled unit."""

    def __init__(self, given: dict[str, Any], path: str, notices: Notices) -> None:
        self.given, self.path, self.notices = given, path, notices

    def unit(self) -> ControlNetUnit:
        """The unit. Raises RequestError."""
        module = module_named(
            read_text(self.given.get("module"), f"{self.path}.module"), f"{self.path}.module"
        )
        self.require_simple(module)
        start, end = self.window()
        numbers = self.numbers(module)
        return ControlNetUnit(
            module=module.name,
            model=self.model(),
            weight=self.within("weight", 1.0, 2.0),
            images=read_images(self.given.get("image"), self.given.get("mask"), self.path),
            resize_mode=self.resize_mode(),
            low_vram=self.switch("low_vram", default=False),
            processor_res=int(numbers["processor_res"]),
            threshold_a=numbers["threshold_a"],
            threshold_b=numbers["threshold_b"],
            guidance_start=start,
            guidance_end=end,
            pixel_perfect=self.switch("pixel_perfect", default=False),
            control_mode=self.choice("control_mode", CONTROL_MODES, CONTROL_SPELLINGS),
            inpaint_crop_input_image=self.switch("inpaint_crop_input_image", default=True),
            hr_option=self.choice("hr_option", HIRES_OPTIONS, HIRES_SPELLINGS),
            save_detected_map=self.switch("save_detected_map", default=True),
            advanced_weighting=self.layer_weights(),
            effective_region_mask=self.region(),
            pulid_mode=self.choice("pulid_mode", PULID_MODES, PULID_SPELLINGS),
            union_control_type=self.union_type(),
            ctrlgen_semantics=self.semantics(),
            ipadapter_input=read_embeddings(
                self.given.get("ipadapter_input"), f"{self.path}.ipadapter_input"
            ),
        )

    def require_simple(self, module: Module) -> None:
        """Raise RequestError for a unit of the page's batch or multi-input tab, which means several units."""
        mode = read_text(self.given.get("input_mode"), self.place("input_mode")).lower()
        if mode == "batch" or (mode == "merge" and "IP-Adapter" not in module.tags):
            message = f"the mode '{mode}' is only in sd-webui-controlnet's page: send a unit for each picture"
            raise RequestError(self.place("input_mode"), message)

    def place(self, name: str) -> str:
        """The JSON path of a field."""
        return f"{self.path}.{name}"

    def model(self) -> str:
        text = read_text(self.given.get("model"), self.place("model"))
        return NO_MODEL if text.lower() in ("", NO_MODULE) else text

    def within(self, name: str, default: float, most: float) -> float:
        """A number from 0 to `most`."""
        if name not in self.given:
            return default
        return read_number_within(self.given[name], self.place(name), 0.0, most)

    def window(self) -> tuple[float, float]:
        start, end = self.within("guidance_start", 0.0, 1.0), self.within("guidance_end", 1.0, 1.0)
        if start > end:
            message = f"{start:g} is after guidance_end ({end:g})"
            raise RequestError(self.place("guidance_start"), message)
        return start, end

    def switch(self, name: str, *, default: bool) -> bool:
        return read_switch(self.given[name], self.place(name)) if name in self.given else default

    def choice(self, name: str, known: Sequence[T], spellings: Mapping[str, T]) -> T:
        """One of the known values, the first of which is the default."""
        return read_choice(self.given.get(name, known[0]), self.place(name), known, spellings)

    def resize_mode(self) -> OldResizeMode:
        default = ControlNetUnit.resize_mode
        value = self.given.get("resize_mode", default)
        return read_resize_mode(value, self.place("resize_mode"), self.notices)

    def union_type(self) -> UnionControlType:
        value = self.given.get("union_control_type", UNION_TYPES[-1])
        return read_choice(value, self.place("union_control_type"), UNION_TYPES, UNION_SPELLINGS)

    def numbers(self, module: Module) -> dict[str, float]:
        """The resolution and the thresholds; DEFAULT_NUMBER for each that the module's slider cannot have."""
        sliders = {"processor_res": module.resolution, "threshold_a": module.a, "threshold_b": module.b}
        return {name: self.number(name, slider, module) for name, slider in sliders.items()}

    def number(self, name: str, slider: Slider | None, module: Module) -> float:
        if name not in self.given or slider is None:
            return DEFAULT_NUMBER
        number = read_number(self.given[name], self.place(name))
        if slider.holds(number):
            return number
        if number != DEFAULT_NUMBER:
            bounds = f"{slider.minimum:g} to {slider.maximum:g} for {module.name!r} ({slider.label})"
            message = f"{number:g} is not within {bounds}: the default {slider.value:g} is used"
            self.notices.add(self.place(name), message)
        return DEFAULT_NUMBER

    def layer_weights(self) -> tuple[float, ...] | None:
        value, path = self.given.get("advanced_weighting"), self.place("advanced_weighting")
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not value:
            raise RequestError(path, f"expected a list with a weight for each layer, got {shown(value)}")
        return tuple(read_number(each, f"{path}[{number}]") for number, each in enumerate(value))

    def semantics(self) -> bool | None:
        value, path = self.given.get("ctrlgen_semantics"), self.place("ctrlgen_semantics")
        return None if value is None else read_switch(value, path)

    def region(self) -> str:
        value = self.given.get("effective_region_mask")
        return read_picture(value, self.place("effective_region_mask"))
