"""The settings section, the model folders and the one model store of the process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths_internal, shared

from lib_ctrlgen.models.memory import GB, Automatic, Fixed
from lib_ctrlgen.models.store import ModelStore

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
    """How many units the panel has."""
    return max(1, min(MAX_UNITS, int(_setting("ctrlgen_units", UNITS))))


def appends_maps() -> bool:
    """Whether control maps are appended to the pictures."""
    return bool(_setting("ctrlgen_append_maps", True))


def model_store() -> ModelStore:
    """The process's model store: a new one only when its folders or its size were changed."""
    return _store(tuple(model_folders()), cache_gigabytes())


def cache_gigabytes() -> float | None:
    """What loaded models may fill: the command line's number, else the setting's; None for automatic."""
    given = _flag("ctrlgen_cache_gb", None)
    if given is not None:
        return float(given)
    chosen, old = float(_setting(CACHE, 0) or 0), float(_setting(OLD_CACHE, OLD_CACHE_GB))
    return chosen or (old if old != OLD_CACHE_GB else None)


def model_folders() -> list[Path]:
    """Where control models are looked for, whether or not the folders exist yet."""
    models, extensions = Path(paths_internal.models_path), Path(paths_internal.extensions_dir)
    own = [models / name for name in ("ControlNet", "CtrlGen", "ipadapter", "clip_vision")]
    old = extensions / "sd-webui-controlnet" / "models"
    flags = [Path(folder) for folder in _flag("ctrlgen_models_path", [])]
    lines = str(_setting("ctrlgen_model_folders", "")).splitlines()
    return [*own, old, *flags, *(Path(line.strip()) for line in lines if line.strip())]


@lru_cache(maxsize=1)
def _store(roots: tuple[Path, ...], gigabytes: float | None) -> ModelStore:
    fixed = gigabytes is not None
    budget = Fixed(least=int((gigabytes or 0) * GB), advice=ADVICE) if fixed else Automatic(advice=ADVICE)
    return ModelStore(roots, budget)


def _setting(name: str, default: Any) -> Any:
    """A setting's value; the default where the settings page was never built (`--nowebui`)."""
    return shared.opts.data.get(name, default)


def _flag(name: str, default: Any) -> Any:
    return getattr(shared.cmd_opts, name, default)


def _options() -> dict[str, Any]:
    """The options by name, `restrict_api` on what a REST client must not change."""
    info = shared.OptionInfo
    units = info(UNITS, "Units in the panel", gr.Slider, {"minimum": 1, "maximum": MAX_UNITS, "step": 1})
    maps = info(True, "Append control maps to the pictures").info(
        "after them, on the page and in the API; the pictures stay first"
    )
    folders = info("", "More folders with control models", gr.Textbox, {"lines": 3}, restrict_api=True)
    limits = {"minimum": 0, "maximum": 64, "step": 0.5}
    cache = info(0, "Memory that loaded control models may fill, GB (0: automatic)", gr.Slider, limits)
    return {
        "ctrlgen_units": units.needs_reload_ui(),
        "ctrlgen_append_maps": maps,
        "ctrlgen_model_folders": folders.info("one per line"),
        CACHE: cache.info(
            "in the GPU's and in the CPU's memory each; automatic: what can be spared, at least 4; "
            "--ctrlgen-cache-gb overrides it"
        ),
    }


TITLE = "CtrlGen"
