"""The lists of control models and preprocessors under the names that sd-webui-controlnet gives them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lib_ctrlgen.compat.control_types import ALL, module_answer
from lib_ctrlgen.compat.module_list import find_module, sorted_modules
from lib_ctrlgen.compat.module_types import Module
from lib_ctrlgen.compat.unit import NO_MODEL
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.webui.controlnet.model_names import labels, resolved
from lib_ctrlgen.webui.settings import model_store


@dataclass
class ModelTable:
    """The control models, "None" first. Other extensions keep these dicts, so they are changed in place.

    paths  the file of each "stem [hash]", None for "None"
    names  the "stem [hash]" of each stem in lower case
    """

    paths: OrderedDict[str, str | None] = field(default_factory=OrderedDict)
    names: dict[str, str] = field(default_factory=dict)

    def update(self) -> None:
        """Search the model folders again."""
        files = model_store().files
        files.refresh()
        found = labels(files)
        self.paths.clear()
        self.paths.update(
            {NO_MODEL: None, **{label: str(files.find(resolved(label, files))) for label in found}}
        )
        self.names.clear()
        self.names.update({split_hash(label)[0].lower(): label for label in found})


@lru_cache(maxsize=1)
def model_table() -> ModelTable:
    """The process's table of control models, searched for at the first call."""
    table = ModelTable()
    table.update()
    return table


def get_models(update: bool = False) -> list[str]:
    """The control models as "stem [hash]", without "None"; `update` searches the folders again."""
    table = model_table()
    if update:
        table.update()
    return list(table.names.values())


def get_all_controlnet_names() -> list[str]:
    """The control models as "stem [hash]", with "None" as the first."""
    return [NO_MODEL, *get_models()]


def get_controlnet_filename(controlnet_name: str) -> str | None:
    """The file of a control model. Raises KeyError for another name."""
    return model_table().paths[controlnet_name]


def update_cn_models() -> None:
    """Search the model folders again."""
    model_table().update()


def get_modules(alias_names: bool = False) -> list[str]:
    """The preprocessors by their internal names, or by the names that the page shows."""
    found: list[str] = module_answer(labels=alias_names)["module_list"]
    return found


def get_modules_detail(alias_names: bool = False) -> dict[str, Any]:
    """For each preprocessor whether a unit with it has no model, and its sliders with their bounds."""
    found: dict[str, Any] = module_answer(labels=alias_names)["module_detail"]
    return found


def get_preprocessor(name: str) -> Module | None:
    """The preprocessor of an internal name or of a name of the page, None for another text."""
    return find_module(name)


def get_filtered_preprocessors(tag: str) -> dict[str, Module]:
    """The preprocessors of a control type such as "Inpaint" by their names in the page, "None" first."""
    none, *others = sorted_modules()
    return {NO_MODEL: none, **{each.label: each for each in others if tag == ALL or tag in each.tags}}


def get_filtered_preprocessor_names(tag: str) -> list[str]:
    """The names of the preprocessors of a control type."""
    return list(get_filtered_preprocessors(tag))


def get_all_preprocessor_names() -> list[str]:
    """The names of all preprocessors in the page."""
    return get_filtered_preprocessor_names(ALL)
