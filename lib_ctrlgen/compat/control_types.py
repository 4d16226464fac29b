"""What sd-webui-controlnet answers about its preprocessors and control types, in its JSON types.

>>> select("Canny", ["None", "control_v11p_sd15_canny [d14c016b]", "depth [00000000]"])["default_model"]
'control_v11p_sd15_canny [d14c016b]'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .module_list import sorted_modules
from .module_types import Module, Slider
from .unit import NO_MODEL, NO_MODULE

ALL = "All"
# Parts of model names that belong to a control type, beside the type itself, in lower case.
NAME_PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "instructp2p": ("ip2p",),
        "segmentation": ("seg",),
        "normalmap": ("normal",),
        "t2i-adapter": ("t2i_adapter", "t2iadapter", "t2ia"),
        "ip-adapter": ("ip_adapter", "ipadapter"),
        "openpose": ("densepose",),
        "instant-id": ("instant_id", "instantid"),
        "scribble": ("sketch",),
        "tile": ("blur",),
    }
)
# The control types whose maps a ControlNet Union reads; "union" in a model's name fits all of them.
UNION_TAGS = frozenset(
    {"openpose", "depth", "softedge", "scribble", "canny", "lineart", "mlsd", "normalmap"}
    | {"segmentation", "inpaint", "tile"}
)
PREFERRED = "11"  # in the name of a default model: release 1.1 of the ControlNets


def control_types(models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every control type with its preprocessors and models; `models` are "stem [hash8]"."""
    tags = sorted({tag for each in sorted_modules() for tag in each.tags})
    return {tag: select(tag, [NO_MODEL, *models]) for tag in (ALL, *tags)}


def select(tag: str, models: Sequence[str]) -> dict[str, Any]:
    """The labels of the preprocessors and the models of a control type, and the default of each.

    `models` begin with "None".
    """
    if tag == ALL:
        labels = [each.label for each in sorted_modules()]
        return _described(labels, list(models), NO_MODULE, NO_MODEL)
    chosen = [each.label for each in sorted_modules() if tag in each.tags or each.name == NO_MODULE]
    parts = _name_parts(tag.lower())
    fitting = [each for each in models if each == NO_MODEL or any(part in each.lower() for part in parts)]
    others = [each for each in fitting if each != NO_MODEL]
    preferred = (each for each in others if PREFERRED in each.split("[")[0])
    model = next(preferred, others[0] if others else NO_MODEL)
    return _described(chosen, fitting, chosen[min(1, len(chosen) - 1)], model)


def _name_parts(tag: str) -> tuple[str, ...]:
    union = ("union",) if tag in UNION_TAGS else ()
    return (tag, *NAME_PARTS.get(tag, ()), *union)


def _described(modules: list[str], models: list[str], module: str, model: str) -> dict[str, Any]:
    return {"module_list": modules, "model_list": models, "default_option": module, "default_model": model}


def module_answer(*, labels: bool) -> dict[str, Any]:
    """The answer of `module_list`: all preprocessors by name or by label, and the sliders of each."""
    named = {each.label if labels else each.name: each for each in sorted_modules()}
    return {
        "module_list": list(named),
        "module_detail": {name: _detail(each) for name, each in named.items()},
    }


def _detail(module: Module) -> dict[str, Any]:
    return {"model_free": module.model_free, "sliders": [_slider(each) for each in module.sliders]}


def _slider(slider: Slider) -> dict[str, Any]:
    bounds = {"min": slider.minimum, "max": slider.maximum, "step": slider.step}
    return {"name": slider.label, "value": slider.value, **bounds}
