"""What the control files of a host can be used for: the kinds of each, and the best file for a kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.models.published import NO_CONTROLS, named
from lib_ctrlgen.request import catalogue

from .kinds import KINDS, OTHER, kind_of_preprocessor, kind_of_words
from .strengths import MIDDLE, at, presets_of

# Families whose units read a control map, the first ones preferred.
MAPPED = ("controlnet", "controlnet_union", "control_lora", "t2i_adapter", "lllite")
UNION_KINDS = (
    "pose", "depth", "soft_edges", "scribble", "edges", "lines", "straight_lines", "normals", "segmentation"
)  # fmt: skip
PROMAX_KINDS = ("tile", "inpaint")
ADAPTED = ("image_prompt", "style", "composition")
FAMILY_KINDS = {
    "ip_adapter_face": ("face",),
    "pulid": ("face",),
    "instant_id": ("face_position",),
    "gligen": ("boxes",),
    "t2i_style": ("style",),
    "reference": ("reference",),
    "style_aligned": ("style_aligned",),
    "revision": ("revision",),
}
FAMILY_WORDS = {
    "ip_adapter_face": r"face_?id|ip_adapter_instant",
    "pulid": r"pulid",
    "ip_adapter": r"ip_?adapter|ip_plus|(?<![a-z])ip(?![a-z\d])",
    "instant_id": r"instant_?id",
    "gligen": r"gligen",
    "lllite": r"lllite",
    "t2i_style": r"adapter_style",
    "t2i_adapter": r"t2i|adapter_xl",
    "control_lora": r"control_?lora|\d+lora",
    "controlnet_union": r"union",
}
BASE_WORDS = {
    "SDXL": r"(?<![a-z])(sd)?xl(?![a-z])|sdxl|noob|illustrious|pony",
    "SD2": r"(?<![a-z])sd_?2(?!\d{3})",
    "SD1.5": r"(?<![a-z])sd_?1(?!\d{3})|_v11",
}
# Files that are taken after others of their kind: for special checkpoints, of earlier generations.
SPECIAL = r"anime|noob|small|_mid|control_sd15|diff_|sd14|_light|vit_g|portrait|unnorm|first|faid|zeed"
WEIGHT_TYPE = "ip_adapter_weight_type"


@dataclass(frozen=True, kw_only=True)
class ControlFile:
    """A control file, or a family without a file.

    name           its name in the panel's list
    control        its control family; empty if it is not known
    base           the checkpoint family that it fits; empty if it is not known, or for every one
    kinds          what its units can be for, at least `other`
    preprocessors  those that its publisher names
    """

    name: str
    control: str = ""
    base: str = ""
    kinds: tuple[str, ...] = (OTHER,)
    preprocessors: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether its name said what there is to know of it."""
        return bool(self.control and self.base)

    def fits(self, base: str) -> bool:
        """Whether it can be used with a checkpoint of this family; so it seems where either is not known."""
        return not base or not self.base or self.base == base


def file_of(name: str, control: str = "", base: str = "", variant: str = "") -> ControlFile:
    """What a file is by its name; `control`, `base` and `variant`, if they were read from it, count more.

    >>> file_of("control_v11p_sd15_canny_fp16").kinds, file_of("ip-adapter-plus_sdxl_vit-h").base
    (('edges',), 'SDXL')
    """
    plain = name.lower().replace("-", "_")
    entry = named(name)
    entry = None if entry and entry.kind in NO_CONTROLS else entry
    words = kind_of_words(name)
    family = control or (
        entry.kind if entry else _word(plain, FAMILY_WORDS) or ("controlnet" if words else "")
    )
    own = tuple(each for each in (entry.preprocessors if entry else ()) if each in _preprocessors())
    return ControlFile(
        name=name,
        control=family,
        base=base or (entry.base if entry else _word(plain, BASE_WORDS)),
        kinds=_kinds(family, plain, words or next(filter(None, map(kind_of_preprocessor, own)), ""), variant),
        preprocessors=own,
    )


def fileless() -> tuple[ControlFile, ...]:
    """The control families that need no file."""
    return tuple(
        ControlFile(
            name=entry.without_model,
            control=entry.name,
            base="SDXL" if entry.name == "revision" else "",
            kinds=FAMILY_KINDS.get(entry.name, (OTHER,)),
        )
        for entry in catalogue.CONTROLS
        if entry.without_model
    )


def offered(files: Iterable[ControlFile], base: str = "") -> tuple[str, ...]:
    """The kinds that some file can be used for with a checkpoint of this family, in the order of `KINDS`."""
    found = {kind for file in files if file.fits(base) for kind in file.kinds}
    return tuple(kind for kind in KINDS if kind in found)


def best_file(
    kind: str, files: Sequence[ControlFile], base: str = "", current: str = ""
) -> ControlFile | None:
    """The file for a kind: the current one if it fits, else the most general one; None if there is none."""
    fitting = [file for file in files if kind in file.kinds and file.fits(base)]
    return min(fitting, key=lambda file: (file.name != current, *_rank(file)), default=None)


def best_preprocessor(kind: str, file: ControlFile, is_ready: Callable[[str], bool]) -> str:
    """The first preprocessor for a kind and a file whose weights are here; else the best one of all.

    `none` for a kind whose pictures are used as they are.
    """
    known = KINDS[kind].preprocessors
    if not known or file.control not in {*MAPPED, "instant_id"}:
        return "none"
    own = [each for each in known if each in file.preprocessors]
    order = [*own, *(each for each in file.preprocessors if each not in own), *known]
    return next((each for each in order if is_ready(each)), order[0])


def unit_values(kind: str, file: ControlFile, preprocessor: str, base: str = "") -> dict[str, Any]:
    """The values of a unit's fields that choosing a kind sets."""
    weight, start, end = at(presets_of(kind, base), MIDDLE)
    only_composition = "composition" in file.kinds and "style" not in file.kinds
    types = {"style": "style transfer", "composition": "composition"} if not only_composition else {}
    return {
        "enabled": True,
        "model": file.name,
        "preprocessor": preprocessor,
        "weight": weight,
        "weight_schedule": "",
        "guidance_start": start,
        "guidance_end": end,
        WEIGHT_TYPE: types.get(kind, "linear") if file.control == "ip_adapter" else "linear",
    }


def kind_of_unit(file: ControlFile, preprocessor: str, weight_type: str = "linear") -> str:
    """The kind of a unit with these values."""
    if len(file.kinds) == 1:
        return file.kinds[0]
    wanted = kind_of_preprocessor(preprocessor)
    if file.control == "ip_adapter":
        wanted = "style" if "style" in weight_type else wanted
        wanted = "composition" if weight_type.startswith("composition") else wanted or "image_prompt"
    return wanted if wanted in file.kinds else ""


def _kinds(family: str, plain: str, words: str, variant: str) -> tuple[str, ...]:
    if family in FAMILY_KINDS:
        return FAMILY_KINDS[family]
    if family == "controlnet_union":
        promax = "promax" in plain or variant == "promax"
        return (*UNION_KINDS, *(PROMAX_KINDS if promax else ()))
    if family == "ip_adapter":
        special = next((kind for kind in ("face", "composition") if kind in plain), "")
        return (special,) if special else ADAPTED
    return (words,) if words and family in MAPPED else (OTHER,)


def _rank(file: ControlFile) -> tuple[object, ...]:
    """What is preferred among the files of a kind, smaller first."""
    plain = file.name.lower().replace("-", "_")
    order = (*MAPPED, "ip_adapter_face", "pulid", "ip_adapter", "t2i_style")
    place = order.index(file.control) if file.control in order else len(order)
    return not file.is_known, bool(re.search(SPECIAL, plain)), place, "v11" not in plain, len(plain), plain


def _word(plain: str, words: dict[str, str]) -> str:
    return next((name for name, pattern in words.items() if re.search(pattern, plain)), "")


def _preprocessors() -> frozenset[str]:
    return frozenset(catalogue.preprocessor_names())
