"""The contents of the modules that other extensions import from sd-webui-controlnet and from Forge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from modules import paths_internal

from lib_ctrlgen.webui.settings import model_store

from . import arguments, enums, lists, pictures, unit
from .lists import model_table

API_VERSION = 3


def get_api_version() -> int:
    """The version of sd-webui-controlnet's Python API."""
    return API_VERSION


def cn_models_dir() -> str:
    """The first folder in which control models are searched."""
    folders = model_store().roots
    return str(folders[0] if folders else Path(paths_internal.models_path) / "ControlNet")


class ControlNet:
    """A class that other extensions import to see whether a ControlNet extension is installed."""


def external_code() -> dict[str, Any]:
    """The names of `external_code`."""
    listed = (lists.get_models, lists.get_modules, lists.get_modules_detail)
    shown = (pictures.to_base64_nparray, pictures.pixel_perfect_resolution)
    others = (*listed, *shown, unit.resize_mode_from_value, get_api_version)
    names = {each.__name__: each for each in others}
    names |= {name: getattr(arguments, name) for name in arguments.__all__}
    classes = {name: getattr(enums, name) for name in ("BatchOption", "ControlMode", "ResizeMode")}
    units = {"ControlNetUnit": unit.ControlNetUnit, "UiControlNetUnit": unit.UiControlNetUnit}
    return {**names, **classes, **units, "resize_mode_aliases": unit.OLD_RESIZE_MODES}


def global_state() -> dict[str, Any]:
    """The names of `global_state`; `cn_models` and the others of `LATE` are found when they are asked for."""
    functions = (
        lists.update_cn_models,
        lists.get_all_controlnet_names,
        lists.get_controlnet_filename,
        lists.get_preprocessor,
        lists.get_filtered_preprocessors,
        lists.get_filtered_preprocessor_names,
        lists.get_all_preprocessor_names,
    )
    return {each.__name__: each for each in functions} | {"__getattr__": late_value}


LATE: dict[str, Callable[[], Any]] = {
    "cn_models": lambda: model_table().paths,
    "cn_models_names": lambda: model_table().names,
    "cn_models_dir": cn_models_dir,
    "default_detectedmap_dir": lambda: "detected_maps",
}


def late_value(name: str) -> Any:
    """A value of `global_state` that depends on the model folders. Raises AttributeError for another name."""
    if name not in LATE:
        raise AttributeError(f"global_state has no attribute {name!r}")
    return LATE[name]()


def all_enums() -> dict[str, Any]:
    """The names of `enums`."""
    return {name: value for name, value in vars(enums).items() if isinstance(value, type)}


CONTENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "external_code": external_code,
    "global_state": global_state,
    "enums": all_enums,
    "args": lambda: {"ControlNetUnit": unit.ControlNetUnit},
    "cldm": lambda: {"ControlNet": ControlNet},
    "hook": lambda: {"ControlModelType": enums.ControlModelType},
    "batch_hijack": lambda: {"InputMode": enums.InputMode},
    "util": lambda: {"HWC3": pictures.HWC3, "resize_image": pictures.resize_image},
}


def fill(module: ModuleType) -> None:
    """Put the names of a module into it, by the last part of its own name."""
    last = module.__name__.rpartition(".")[2]
    contents = CONTENTS[last]()
    vars(module).update(contents, __all__=[name for name in contents if not name.startswith("__")])
