"""The folders in which users of a WebUI keep control models and the weights of preprocessors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.files import expanded

from .hub_cache import hub_cache
from .index import ModelIndex, kept_index
from .published import WEIGHTS, Published
from .weights import PLACE, own_folder

OWN = ("ControlNet", "CtrlGen", "ipadapter", "T2I-Adapter", "clip_vision")
# Other names for such folders, in lower case: of ComfyUI, Forge and their guides.
OTHERS = frozenset(
    {"controlnet", "ip-adapter", "ip_adapter", "ipadapter", "t2i-adapter", "t2i_adapter", "t2iadapter"}
    | {"lllite", "controlnet-lllite", "instantid", "instant_id", "gligen", "pulid", "clip_vision"}
)
FOLDERS = {  # in a WebUI's `models`, by kind; other controls are in ControlNet
    "ip_adapter": "ipadapter",
    "ip_adapter_face": "ipadapter",
    "image encoder": "clip_vision",
    "lora": "Lora",
}
SIDES = ("models/Lora", "models/LyCORIS", "embeddings", "models/embeddings")
OLD_EXTENSION = "sd-webui-controlnet"
# The old extension's settings and flags, as the WebUI calls them after parsing.
OLD_MODELS = ("control_net_models_path", "controlnet_dir")
OLD_WEIGHTS = ("control_net_modules_path", "controlnet_annotator_models_path")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders that are searched; they need not exist.

    models   for control models and image encoders
    weights  for the weights of preprocessors, which the user named for them
    """

    models: tuple[Path, ...]
    weights: tuple[Path, ...] = ()


def webui_places(models: Path, extensions: Sequence[Path], options: Mapping[str, Any]) -> Places:
    """The places of a WebUI.

    models      its folder for models
    extensions  its folders with extensions; sd-webui-controlnet has a folder `models`
    options     settings and flags by name, of which those of sd-webui-controlnet are read
    """
    own = [models / name for name in OWN]
    others = [path for path in _subfolders(models) if path.name.lower() in OTHERS]
    old = [path / "models" for path in old_extensions(extensions)]
    named = [expanded(text) for name in OLD_MODELS if (text := str(options.get(name) or "").strip())]
    weights = [expanded(text) for name in OLD_WEIGHTS if (text := str(options.get(name) or "").strip())]
    return Places(models=tuple(dict.fromkeys([*own, *others, *old, *named])), weights=tuple(weights))


def old_extensions(extensions: Sequence[Path]) -> list[Path]:
    """The folders of sd-webui-controlnet, also of copies under names that contain its own."""
    usual = [folder / OLD_EXTENSION for folder in extensions]
    copies = [path for folder in extensions for path in _subfolders(folder) if OLD_EXTENSION in path.name]
    return list(dict.fromkeys([*usual, *copies]))


def is_webui(folder: Path) -> bool:
    """Whether a folder is that of an AUTOMATIC1111 WebUI or of Forge."""
    return (folder / "webui.py").is_file() and (folder / "models").is_dir()


def places_of_webui(folder: Path) -> Places:
    """The places of a WebUI that does not run, from its folder and its config.json.

    With those of its checkpoints, LoRAs and embeddings, which the WebUI itself reads where it runs.
    """
    options: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # it was never started, or is being written
        options = dict(json.loads((folder / "config.json").read_text("utf-8")))
    extensions = [folder / "extensions", folder / "extensions-builtin"]
    found = webui_places(folder / "models", extensions, options)
    sides = [path for path in (folder / name for name in SIDES) if path.is_dir()]
    models = (folder / "models" / "Stable-diffusion", *found.models, *sides)
    return Places(models=models, weights=found.weights)


def own_index() -> ModelIndex:
    """The process's index of model files, in CtrlGen's folder."""
    return kept_index(own_folder() / "models.json")


def shared_places() -> tuple[Path, ...]:
    """The model folders that every host searches after its own: CtrlGen's, and the Hub's cache."""
    return own_folder() / "models", hub_cache()


def folder_for(entry: Published, given: Sequence[Path], weights: Sequence[Path] = ()) -> Path:
    """The folder into which a published file is downloaded, so that it is found there.

    given    the model folders, or folders of WebUIs, that the user named; without one it is CtrlGen's own
    weights  the folders that the user named for the weights of preprocessors
    """
    if entry.kind == WEIGHTS and weights:
        return weights[0]
    first = next(iter(given), own_folder() / "models")
    models = first / "models" if is_webui(first) else first
    if entry.kind == WEIGHTS:
        return (models if given else own_folder()) / PLACE
    return models / FOLDERS.get(entry.kind, "ControlNet") if is_webui(first) else models


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return
