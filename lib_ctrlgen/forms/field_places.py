"""Where a panel shows each part of a request: the elements of a JSON path, and their label.

`{tab}` in an element's id stands for `txt2img` or `img2img`.

>>> place_of("$.units[1].guidance_end").label
'Unit 1, End'
>>> place_of("$.units[0].weight").elements
('ctrlgen_{tab}_unit0_weight', 'ctrlgen_{tab}_unit0_weight_schedule')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .blend_fields import BLEND_FIELDS, CONCEPT_FIELDS
from .param_fields import family_fields
from .preprocessor_fields import param_fields, stage_names
from .recipe_places import RECIPE_LABELS
from .tuner_places import TUNER, TUNER_LABELS, tuner_field
from .unit_fields import UNITS_FROM, WHOLE_FIELDS, split_values, unit_fields

PART = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")
IN_UNIT = re.compile(r"\$\.units\[\d+\]\.?(?P<rest>.*)", re.DOTALL)
OWN = "ctrlgen_{tab}_"

# The panel's fields for a field of a unit. The first one that is filled is meant, or else the last one.
UNIT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image": ("pose", "image"),
        "image_from": ("use_init_image",),
        "control": ("model",),
        "weight": ("weight_schedule", "weight"),
        "references": ("references", "composition_image", "negative_image", "reference_weights"),
        "combine": ("combine",),
    }
)
UNIT_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "enabled": "Enable",
        "image": "Picture",
        "images": "Pictures for a batch",
        "use_init_image": "Use the img2img picture instead",
        "pose": "Pose",
        "boxes": "Boxes",
        "model": "Model",
        "preprocessor": "Preprocessor",
        "resolution": "Detection resolution",
        "weight": "Weight",
        "weight_schedule": "Weight schedule",
        "hires": "Weight in the hires pass",
        "guidance_start": "Start",
        "guidance_end": "End",
        "control_mode": "Control mode",
        "resize_mode": "Resize mode",
        "inpaint_crop": 'Crop to the area of "Only masked"',
        "mask": "Mask",
        "masks": "Masks for a batch",
        "mask_strength": "Mask strength",
        "mask_feather": "Mask feather",
        "layer_weights": "Layer weights",
        "params": "Further parameters",
        "param_values": "Parameters",
        "reuse": "Run at every n-th step",
        "low_vram": "Weights in CPU memory",
        "storage": "Weights stored as",
        "references": "More reference pictures",
        "reference_weights": "Weights of these pictures",
        "combine": "Combine pictures by",
        "composition_image": "Composition picture",
        "negative_image": "Negative picture",
    }
)
CONCEPT: Mapping[str, tuple[str, ...]] = MappingProxyType({"mask": ("painted", "mask")})
CONCEPT_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "used": "Use",
        "prompt": "Prompt",
        "weight": "Weight",
        "hires": "Hires weight",
        "seed": "Seed",
        "mask_strength": "Mask strength",
        "mask": "Mask",
        "painted": "Painted mask",
        "image": "Reference picture",
    }
)
BLEND_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "mode": "Blend",
        "interpolation": "Interpolation",
        "normalise": "Normalise",
        "crossfeed": "Crossfeed",
        "animation": "Animation of a trajectory",
        "spacing": "Spacing",
        "model": "IP-Adapter for reference pictures",
        "explore": "Map",
    }
)
WHOLE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "cfg_scale": "Guidance schedule",
        "hires_cfg_scale": "Guidance in the hires pass",
        "prompt_weights": "Named prompt weights",
    }
)
# The WebUI's own fields.
HOST: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "prompt": ("{tab}_prompt", "Prompt"),
        "negative_prompt": ("{tab}_neg_prompt", "Negative prompt"),
        "hr_prompt": ("hires_prompt", "Hires prompt"),
        "hr_negative_prompt": ("hires_neg_prompt", "Hires negative prompt"),
        "model": ("setting_sd_model_checkpoint", "Stable Diffusion checkpoint"),
        "width": ("{tab}_width", "Width"),
        "height": ("{tab}_height", "Height"),
        "steps": ("{tab}_steps", "Sampling steps"),
        "cfg_scale": ("{tab}_cfg_scale", "CFG Scale"),
        "sampler": ("{tab}_sampling", "Sampling method"),
        "scheduler": ("{tab}_scheduler", "Schedule type"),
        "seed": ("{tab}_seed", "Seed"),
        "batch_size": ("{tab}_batch_size", "Batch size"),
        "pad_cond_uncond": ("setting_pad_cond_uncond", "Pad prompt/negative prompt to be same length"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in the page.

    elements  ids of elements, of which the first that the page shows is meant
    label     of the field, with its unit or concept before it
    unit      the unit's index, None for a place outside of the units
    """

    elements: tuple[str, ...]
    label: str
    unit: int | None = None


@dataclass(frozen=True)
class PanelValues:
    """The values of the panel's fields from which a request was made, as far as they are known.

    concepts  the numbers of the panel's concepts that are used, in the order of the request's concepts
    """

    units: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    concepts: tuple[int, ...] = ()
    whole: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(panel: Sequence[Any]) -> PanelValues:
        """The values of a panel's components, without the first of the script's arguments."""
        size = len(CONCEPT_FIELDS)
        starts = range(len(WHOLE_FIELDS) + len(BLEND_FIELDS), UNITS_FROM, size)
        return PanelValues(
            units=dict(enumerate(split_values(panel))),
            concepts=tuple(k for k, start in enumerate(starts) if any(panel[start : start + 1])),
            whole=dict(zip(WHOLE_FIELDS, panel, strict=False)),
        )


def place_of(path: str, values: PanelValues | None = None) -> Place:
    """The place of a JSON path of a request; the whole panel for a path that no field has."""
    values = values or PanelValues()
    parts = [part["name"] or int(part["index"]) for part in PART.finditer(path)]
    match parts:
        case ["units", int(index), *rest]:
            return _unit_place(index, rest, values.units.get(index, {}))
        case ["units", *_]:
            return Place(elements=(f"{OWN}tabs",), label="Units")
        case ["blend", "concepts", int(index), *rest]:
            return _concept_place(index, rest, values.concepts)
        case [str(part), *rest] if part in PARTS:
            return PARTS[part](rest)
        case [str(name), *_]:
            return _whole_place(name, values.whole)
    return Place(elements=(f"{OWN}panel",), label="")


def label_in_unit(path: str) -> str:
    """The label of a path in a unit, without the unit; the rest of the path where the panel has no field.

    >>> label_in_unit("$.units[0].mask"), label_in_unit("$.units[0].wieght"), label_in_unit("$.units")
    ('Mask', 'wieght', '')
    """
    found = IN_UNIT.fullmatch(path)
    return place_of(path).label.partition(", ")[2] or found["rest"] if found else ""


def label_of_field(name: str) -> str:
    """The label of a unit's field in the panel, without the unit."""
    if name in UNIT_LABELS:
        return UNIT_LABELS[name]
    owned = {**param_fields(), **family_fields()}
    return owned[name][1].label.partition(": ")[0]  # what follows is the panel's tooltip


def _unit_place(index: int, rest: Sequence[str | int], values: Mapping[str, Any]) -> Place:
    unit = f"Unit {index}"
    fields = _unit_fields(rest, values)
    whole = f"{OWN}unit{index}_panel"
    if not fields:
        return Place(elements=(whole,), label=unit, unit=index)
    elements = tuple(f"{OWN}unit{index}_{name}" for name in fields)
    return Place(elements=elements, label=f"{unit}, {label_of_field(fields[0])}", unit=index)


def _unit_fields(rest: Sequence[str | int], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The panel's fields for a place in a unit, the meant one first; none for a place without a field."""
    if not rest:
        return ()
    name, names = str(rest[0]), [str(part) for part in rest]
    if "params" in names:
        return _param_fields(names[names.index("params") + 1 :], values)
    if name == "references" and names[-1] == "weight":
        return ("reference_weights", "references")
    known = unit_fields()
    fields = UNIT.get(name, (name,) if name in known else ())
    filled = [each for each in fields if values.get(each, known[each]) not in (known[each], "")]
    first = filled[0] if filled else fields[-1] if fields else ""
    return tuple(dict.fromkeys((first, *reversed(fields)))) if fields else ()


def _param_fields(rest: Sequence[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a parameter, those of the chosen preprocessors before the others, then the text field."""
    wanted = rest[0] if rest else ""
    chosen = stage_names(values["preprocessor"]) if "preprocessor" in values else ()
    owned = {name: owner for name, (owner, param) in param_fields().items() if param.name == wanted}
    own = [name for name, owner in owned.items() if owner in chosen or not chosen]
    own += [name for name, (_, param) in family_fields().items() if param.name == wanted]
    own += ["resolution"] if wanted == "resolution" else []
    return (*own, "params")


def _concept_place(index: int, rest: Sequence[str | int], used: Sequence[int]) -> Place:
    shown = used[index] if index < len(used) else index
    name = str(rest[0]) if rest else "used"
    fields = CONCEPT.get(name, (name,) if name in CONCEPT_FIELDS else ("used",))
    elements = tuple(f"{OWN}concept{shown}_{each}" for each in reversed(fields))
    label = f"Concept {shown}, {CONCEPT_LABELS[fields[-1]]}" if rest else f"Concept {shown}"
    return Place(elements=elements, label=label)


def _blend_place(rest: Sequence[str | int]) -> Place:
    name = str(rest[0]) if rest else "mode"
    name = name if name in BLEND_FIELDS else "mode"
    return Place(elements=(f"{OWN}blend_{name}",), label=BLEND_LABELS[name])


def _tuner_place(rest: Sequence[str | int]) -> Place:
    name = tuner_field(rest)
    if not name:
        return Place(elements=(f"{TUNER}cost",), label="")
    return Place(elements=(TUNER + name,), label=TUNER_LABELS[name])


def _recipe_place(rest: Sequence[str | int]) -> Place:
    name = str(rest[0]) if rest else "name"
    return Place(elements=(f"{OWN}recipe_{name}",), label=RECIPE_LABELS[name])


PARTS: Mapping[str, Callable[[Sequence[str | int]], Place]] = MappingProxyType(
    {"blend": _blend_place, "tune": _tuner_place, "recipe": _recipe_place}
)


def _whole_place(name: str, whole: Mapping[str, Any]) -> Place:
    own = name in WHOLE_FIELDS and (name not in HOST or bool(whole.get(name)) or not whole)
    if own:
        return Place(elements=(f"{OWN}{name}",), label=WHOLE_LABELS[name])
    if name in HOST:
        element, label = HOST[name]
        return Place(elements=(element,), label=label)
    return Place(elements=(f"{OWN}panel",), label="")
