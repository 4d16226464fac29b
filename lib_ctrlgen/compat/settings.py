"""The settings of sd-webui-controlnet, and what CtrlGen takes over from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MOST_UNITS = 10
UNITS = "control_net_unit_count"
NO_MAPS = "control_net_no_detectmap"
SAVE_MAPS = "control_net_detectmap_autosaving"
MAPS_FOLDER = "control_net_detectedmap_dir"
SCRIPT_CONTROL = "control_net_allow_script_control"

# All settings of sd-webui-controlnet 1.1.455 with their defaults. Requests may override them by these names.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        MAPS_FOLDER: "detected_maps",
        "control_net_models_path": "",
        "control_net_modules_path": "",
        UNITS: 3,
        "control_net_model_cache_size": 2,
        "control_net_inpaint_blur_sigma": 7,
        NO_MAPS: False,
        SAVE_MAPS: False,
        SCRIPT_CONTROL: False,
        "control_net_sync_field_args": True,
        "controlnet_show_batch_images_in_ui": False,
        "controlnet_increment_seed_during_batch": False,
        "controlnet_disable_openpose_edit": False,
        "controlnet_disable_photopea_edit": False,
        "controlnet_photopea_warning": True,
        "controlnet_ignore_noninpaint_mask": False,
        "controlnet_clip_detector_on_cpu": False,
        "controlnet_control_type_dropdown": False,
    }
)
# Those that name folders: a REST client must not change them.
FOLDERS = frozenset({MAPS_FOLDER, "control_net_models_path", "control_net_modules_path"})


def unit_count(options: Mapping[str, Any]) -> int:
    """The number of units that the settings give sd-webui-controlnet, 1 to 10."""
    try:
        count = int(options.get(UNITS) or DEFAULTS[UNITS])
    except (TypeError, ValueError):
        count = int(DEFAULTS[UNITS])
    return max(1, min(MOST_UNITS, count))


def appends_maps(options: Mapping[str, Any]) -> bool:
    """Whether the settings let sd-webui-controlnet append control maps to the pictures."""
    return not options.get(NO_MAPS, DEFAULTS[NO_MAPS])


def saves_maps(options: Mapping[str, Any]) -> bool:
    """Whether the settings let sd-webui-controlnet save control maps."""
    return bool(options.get(SAVE_MAPS, DEFAULTS[SAVE_MAPS]))


def maps_folder(options: Mapping[str, Any]) -> str:
    """The folder for saved control maps, relative to that of the pictures unless it is absolute."""
    return str(options.get(MAPS_FOLDER) or DEFAULTS[MAPS_FOLDER])
