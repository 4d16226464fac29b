"""The settings of the extension, the folders with control models, and the process's model store."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths_internal, shared

from lib_ctrlgen.compat import settings as old
from lib_ctrlgen.files import expanded
from lib_ctrlgen.models.disk_cache import map_cache
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
from lib_ctrlgen.preprocessors.isolated.terms import Terms

from .controlnet.name import AUTOMATIC, CHOICES, SETTING

SEMANTICS = "ctrlgen_controlnet_semantics"
SECTION = ("ctrlgen", "CtrlGen")
MAX_UNITS = old.MOST_UNITS
CACHE = "ctrlgen_models_gb"
MAP_CACHE = "ctrlgen_map_cache_gb"
RECIPES, RECIPES_FOLDER = "ctrlgen_recipes_folder", "ctrlgen-recipes"
TRAINING, TRAINING_FOLDER = "ctrlgen_training_folder", "ctrlgen-training"
TRAINING_PICTURES, TRAINING_PICTURES_FOLDER = "ctrlgen_training_pictures", "ctrlgen-training-pictures"
INSTALLS, INSTALLS_LABEL = (
    "ctrlgen_install_environments",
    "Install environments of preprocessors when they are needed",
)
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
    return max(1, min(MAX_UNITS, int(_setting("ctrlgen_units", old.unit_count(shared.opts.data)))))


def appends_maps() -> bool:
    """Whether the setting says that control maps are appended to the pictures."""
    return bool(_setting("ctrlgen_append_maps", old.appends_maps(shared.opts.data)))


def maps_folder() -> str:
    """The folder that control maps are saved in, relative to that of the pictures; empty if they are not."""
    options = shared.opts.data
    saves = _setting("ctrlgen_save_maps", old.saves_maps(options))
    return str(_setting("ctrlgen_maps_folder", old.maps_folder(options))) if saves else ""


def recipes_folder() -> Path:
    """The folder of the recipes, in the WebUI's data folder unless the setting is a whole path."""
    chosen = str(_setting(RECIPES, "") or "").strip() or RECIPES_FOLDER
    return Path(paths_internal.data_path) / expanded(chosen)


def training_folder() -> Path:
    """The folder of the trainings, in the WebUI's data folder unless the setting is a whole path."""
    chosen = str(_setting(TRAINING, "") or "").strip() or TRAINING_FOLDER
    return Path(paths_internal.data_path) / expanded(chosen)


def training_pictures() -> list[Path]:
    """The folders with pictures that REST clients may train on, the WebUI's own one first."""
    lines = str(_setting(TRAINING_PICTURES, "") or "").splitlines()
    data = Path(paths_internal.data_path)
    given = [data / expanded(line.strip()) for line in lines if line.strip()]
    return [data / TRAINING_PICTURES_FOLDER, *given]


def offers_downloads() -> bool:
    """Whether the setting says that the panel offers to download published files."""
    return bool(_setting("ctrlgen_downloads", True))


def terms(cancelled: Callable[[], bool]) -> Terms:
    """What the settings allow while a preprocessor's environment is needed; `cancelled` ends the waiting."""
    advice = f", or switch on the setting '{INSTALLS_LABEL}'"
    return Terms(cancelled=cancelled, installs=installs_packages(), advice=advice)


def installs_packages() -> bool:
    """Whether the settings allow to install packages into CtrlGen's own folder."""
    return bool(_setting(INSTALLS, False))


def model_store() -> ModelStore:
    """Return the process's model store. A new one is made only when its folders or its size change."""
    store = _store(tuple(model_folders()), old_places().weights, cache_gigabytes())
    store.disk = map_cache(float(_setting(MAP_CACHE, 0) or 0))
    return store


def cache_gigabytes() -> float | None:
    """The memory for loaded models in GB, from the command line or else the setting; None is automatic."""
    given = _flag("ctrlgen_cache_gb", None)
    if given is not None:
        return float(given)
    chosen, old = float(_setting(CACHE, 0) or 0), float(_setting(OLD_CACHE, OLD_CACHE_GB))
    return chosen or (old if old != OLD_CACHE_GB else None)


def offloads() -> bool:
    """Whether the WebUI keeps weights in the CPU's memory between uses (`--medvram`, `--lowvram`)."""
    return any(_flag(name, default=False) for name in ("lowvram", "medvram", "medvram_sdxl"))


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
    """The options by name. A REST client cannot change those with `restrict_api`.

    Their defaults are the values of the same settings of sd-webui-controlnet, if the user had it.
    """
    info, former = shared.OptionInfo, shared.opts.data
    count = {"minimum": 1, "maximum": MAX_UNITS, "step": 1}
    units = info(old.unit_count(former), "Units in the panel", gr.Slider, count)
    maps = info(old.appends_maps(former), "Append control maps to the pictures").info(
        "behind the pictures, on the page and in the API"
    )
    saved = info(old.saves_maps(former), "Save control maps in a folder of their own")
    place = info(old.maps_folder(former), "Folder for saved control maps", restrict_api=True)
    folders = info("", "More folders with control models", gr.Textbox, {"lines": 3}, restrict_api=True)
    downloads = info(True, "Offer downloads of published models in the panel", restrict_api=True)
    recipes = info(RECIPES_FOLDER, "Folder of the recipes", restrict_api=True)
    limits = {"minimum": 0, "maximum": 64, "step": 0.5}
    installs = info(False, INSTALLS_LABEL, restrict_api=True).info(
        "mediapipe_face: 0.4 GB in CtrlGen's own folder; otherwise the error names the command. Also "
        "lets REST clients install the packages of trainings (3 MB)"
    )
    cache = info(0, "Memory for loaded control models in GB (0: automatic)", gr.Slider, limits)
    choices = {"choices": list(CHOICES)}
    api = info(AUTOMATIC, "Answer requests for ControlNet (REST and other extensions)", gr.Radio, choices)
    own = info(False, "Units for ControlNet mean what CtrlGen's own units mean")
    maps_label = "Disk space for control maps in GB (0: none are kept on disk)"
    on_disk = info(0, maps_label, gr.Slider, limits, restrict_api=True)
    return {
        SETTING: api.info(
            "automatic: unless another extension, such as sd-webui-controlnet, does"
        ).needs_reload_ui(),
        SEMANTICS: own.info("otherwise they make the pictures that sd-webui-controlnet 1.1.455 makes"),
        "ctrlgen_units": units.info("each makes the page larger by 0.2 MB, shown or not").needs_reload_ui(),
        "ctrlgen_append_maps": maps,
        "ctrlgen_save_maps": saved,
        "ctrlgen_maps_folder": place.info("inside the folder of the pictures, unless it is a whole path"),
        "ctrlgen_downloads": downloads.info("nothing is downloaded unless its button is pressed"),
        "ctrlgen_model_folders": folders.info("one per line"),
        RECIPES: recipes.info("inside the WebUI's folder, unless it is a whole path"),
        **_training_options(),
        CACHE: cache.info(
            "for the GPU's and for the CPU's memory separately; automatic: what is free, but at least 4 GB; "
            "--ctrlgen-cache-gb overrides this"
        ),
        MAP_CACHE: on_disk.info(
            "so that a picture is preprocessed once, also after a restart. A map shows what is in the picture"
        ),
        INSTALLS: installs,
    }


def _training_options() -> dict[str, Any]:
    info, lines = shared.OptionInfo, {"lines": 2}
    trainings = info(TRAINING_FOLDER, "Folder of the trainings", restrict_api=True)
    pictures = info("", "Folders with pictures to train on", gr.Textbox, lines, restrict_api=True)
    return {
        TRAINING: trainings.info("inside the WebUI's folder, unless it is a whole path"),
        TRAINING_PICTURES: pictures.info(
            f"one per line, beside {TRAINING_PICTURES_FOLDER} in the WebUI's folder; REST clients may name "
            "only folders inside of these"
        ),
    }


TITLE = "CtrlGen"
