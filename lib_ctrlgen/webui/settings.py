"""The settings of the extension, the folders with control models, and the process's model store."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths_internal, shared

from lib_ctrlgen.models.memory import GB, Automatic, Fixed
from lib_ctrlgen.models.places import (
    OLD_MODELS,
    OLD_WEIGHTS,
    Places,
    own_index,
    shared_places,
    webui_places,
)
from lib_ctrlgen.models.store import ModelStore

from .controlnet.name import AUTOMATIC, CHOICES, SETTING

SEMANTICS = "ctrlgen_controlnet_semantics"
SECTION = ("ctrlgen", "CtrlGen")
UNITS = 3
MAX_UNITS = 10
CACHE = "ctrlgen_models_gb"
OLD_CACHE, OLD_CACHE_GB = (
    "ctrlgen_cache_gb",
    4.0,
)  # before 0 meant automatic; its default is in every config.json
ADVICE = "Start the WebUI with --ctrlgen-cache-gb {needed:.1f}, or set the units' 'Weights stored as' to fp8."


def register_settings() -> None:
    """Add the section to the WebUI's settings page."""
    for name, option in _options().items():
        option.section = SECTION
        shared.opts.add_option(name, option)


def unit_count() -> int:
    """The number of units in the panel."""
    return max(1, min(MAX_UNITS, int(_setting("ctrlgen_units", UNITS))))


def appends_maps() -> bool:
    """Whether the setting says that control maps are appended to the pictures."""
    return bool(_setting("ctrlgen_append_maps", True))


def model_store() -> ModelStore:
    """Return the process's model store. A new one is made only when its folders or its size change."""
    return _store(tuple(model_folders()), old_places().weights, cache_gigabytes())


def cache_gigabytes() -> float | None:
    """The memory for loaded models in GB, from the command line or else the setting; None is automatic."""
    given = _flag("ctrlgen_cache_gb", None)
    if given is not None:
        return float(given)
    chosen, old = float(_setting(CACHE, 0) or 0), float(_setting(OLD_CACHE, OLD_CACHE_GB))
    return chosen or (old if old != OLD_CACHE_GB else None)


def model_folders() -> list[Path]:
    """The folders that are searched for control models. They need not exist."""
    flags = [Path(folder) for folder in _flag("ctrlgen_models_path", [])]
    lines = str(_setting("ctrlgen_model_folders", "")).splitlines()
    given = [*flags, *(Path(line.strip()) for line in lines if line.strip())]
    return list(dict.fromkeys([*old_places().models, *given, *shared_places()]))


def old_places() -> Places:
    """The WebUI's folders for controls, and those of sd-webui-controlnet with its settings and flags."""
    extensions = [Path(paths_internal.extensions_dir), Path(paths_internal.extensions_builtin_dir)]
    options = {name: _setting(name, None) or _flag(name, None) for name in (*OLD_MODELS, *OLD_WEIGHTS)}
    return webui_places(Path(paths_internal.models_path), extensions, options)


@lru_cache(maxsize=1)
def _store(roots: tuple[Path, ...], weights: tuple[Path, ...], gigabytes: float | None) -> ModelStore:
    fixed = gigabytes is not None
    budget = Fixed(least=int((gigabytes or 0) * GB), advice=ADVICE) if fixed else Automatic(advice=ADVICE)
    return ModelStore(roots, budget, weights, own_index())


def _setting(name: str, default: Any) -> Any:
    """A setting's value, or the default if the settings page was never built (`--nowebui`)."""
    return shared.opts.data.get(name, default)


def _flag(name: str, default: Any) -> Any:
    return getattr(shared.cmd_opts, name, default)


def _options() -> dict[str, Any]:
    """The options by name. A REST client cannot change those with `restrict_api`."""
    info = shared.OptionInfo
    units = info(UNITS, "Units in the panel", gr.Slider, {"minimum": 1, "maximum": MAX_UNITS, "step": 1})
    maps = info(True, "Append control maps to the pictures").info(
        "behind the pictures, on the page and in the API"
    )
    folders = info("", "More folders with control models", gr.Textbox, {"lines": 3}, restrict_api=True)
    limits = {"minimum": 0, "maximum": 64, "step": 0.5}
    cache = info(0, "Memory for loaded control models in GB (0: automatic)", gr.Slider, limits)
    choices = {"choices": list(CHOICES)}
    api = info(AUTOMATIC, "Answer requests for ControlNet (REST and other extensions)", gr.Radio, choices)
    own = info(False, "Units for ControlNet mean what CtrlGen's own units mean")
    return {
        SETTING: api.info(
            "automatic: unless another extension, such as sd-webui-controlnet, does"
        ).needs_reload_ui(),
        SEMANTICS: own.info("otherwise they make the pictures that sd-webui-controlnet 1.1.455 makes"),
        "ctrlgen_units": units.needs_reload_ui(),
        "ctrlgen_append_maps": maps,
        "ctrlgen_model_folders": folders.info("one per line"),
        CACHE: cache.info(
            "for the GPU's and for the CPU's memory separately; automatic: what is free, but at least 4 GB; "
            "--ctrlgen-cache-gb overrides this"
        ),
    }


TITLE = "CtrlGen"
