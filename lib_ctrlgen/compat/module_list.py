"""Finds preprocessors of sd-webui-controlnet 1.1.455 by their names, and lists them.

>>> module_named("depth_midas", "$.module").name
'depth'
>>> module_named("CLIP-ViT-H (IPAdapter)", "$.module").name
'ip-adapter_clip_sd15'
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lib_ctrlgen.errors import RequestError, nearest
from lib_ctrlgen.request.catalogue import MISSING_PREPROCESSORS, preprocessor_names
from lib_ctrlgen.request.encoder_names import encoder_name

from .module_table import MODULES
from .module_types import Module
from .unit import NO_MODULE

# Names that Forge gives to preprocessors which sd-webui-controlnet has under other names.
FORGE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "CLIP-ViT-H (IPAdapter)": "ip-adapter_clip_sd15",
        "CLIP-ViT-bigG (IPAdapter)": "ip-adapter_clip_sdxl",
        "InsightFace+CLIP-H (IPAdapter)": "ip-adapter_face_id_plus",
        "InsightFace (InstantID)": "instant_id_face_embedding",
    }
)


FINISHED = "send a finished control map, with the module 'none'"


def find_module(text: str) -> Module | None:
    """The preprocessor that a name, a label or a name of Forge means, ignoring case; None for no such one."""
    wanted = text.strip().lower()
    forge = {name.lower(): own for name, own in FORGE_NAMES.items()}
    wanted = forge.get(wanted, wanted)
    by_label = {each.label.lower(): each for each in MODULES}
    by_name = {each.name.lower(): each for each in MODULES}
    return by_name.get(wanted) or by_label.get(wanted)


def module_named(text: str, path: str) -> Module:
    """The preprocessor that a text means, see `find_module`; an empty text means `none`.

    Raises RequestError at `path` for a name that sd-webui-controlnet does not have.
    """
    found = find_module(text or NO_MODULE)
    if found is None:
        raise RequestError(path, f"there is no preprocessor {text!r}; {nearest(text, all_names())}")
    return found


def require_here(module: Module, path: str) -> None:
    """Raise RequestError at `path` for a preprocessor that CtrlGen does not have."""
    if encoder_name(module.name) is None:
        reason = MISSING_PREPROCESSORS.get(module.name)
        if reason or module.name not in preprocessor_names():
            shown = f"CtrlGen does not have the preprocessor {module.name!r}"
            raise RequestError(path, f"{shown}: {reason or FINISHED}")


def all_names() -> list[str]:
    """The internal names of all preprocessors, in the order of sd-webui-controlnet's lists."""
    return [each.name for each in sorted_modules()]


def sorted_modules() -> list[Module]:
    """All preprocessors: `none`, then by falling priority, and by falling label where it is the same."""
    others = [each for each in MODULES if each.name != NO_MODULE]
    others.sort(key=lambda each: (each.priority, each.label), reverse=True)
    return [each for each in MODULES if each.name == NO_MODULE] + others
