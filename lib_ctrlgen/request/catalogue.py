"""The control families and preprocessors that a request can name, one line each.

A line holds the name and the place of the class, which is imported when it is first used. So this table can
be read without torch, and a missing or broken package stops only the requests that need it.

>>> entry("canny", PREPROCESSORS, "preprocessor").place
'lib_ctrlgen.preprocessors.canny:Canny'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lib_ctrlgen.errors import RequestError, nearest

from .params import Param


@dataclass(frozen=True)
class Entry:
    """A name that requests use, and where its class is: `package.module:Class`.

    `params_place` is where the class's `params` are without importing the class, for a family whose module
    takes seconds to import: the WebUI's panel is built from them at start. Empty: read from the class.
    `without_model` is what the panel's model list shows for a family that has no model file; empty for the
    others. `needs_image` is False for a control family whose units have no picture.
    `reference_calls` is whether a unit costs a further call of the U-Net, with its picture, at each step.
    `fields` are those of `FAMILY_FIELDS` that units of the family may have.
    """

    name: str
    place: str
    params_place: str = ""
    without_model: str = ""
    needs_image: bool = True
    reference_calls: bool = False
    fields: tuple[str, ...] = ()

    def load(self) -> Any:
        """The class. Imports its module on the first call."""
        return load_object(self.place)

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters that the class declares."""
        found: tuple[Param, ...] = load_object(self.params_place) if self.params_place else self.load().params
        return found


def load_object(place: str) -> Any:
    """The object at `package.module:name`. Imports its module on the first call."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


PARAMS = "lib_ctrlgen.controls.params"
# The order is the order in which `lib_ctrlgen.controls.registry.identify` asks the families about a file.
CONTROLS: tuple[Entry, ...] = (
    Entry(
        "control_lora",
        "lib_ctrlgen.controls.controlnet.control_lora:ControlLora",
        f"{PARAMS}:CONTROLNET",
    ),
    Entry(
        "controlnet",
        "lib_ctrlgen.controls.controlnet.controlnet:ControlNet",
        f"{PARAMS}:CONTROLNET",
    ),
    Entry(
        "controlnet_union",
        "lib_ctrlgen.controls.controlnet.union:ControlNetUnion",
        f"{PARAMS}:UNION",
    ),
    Entry(
        "instant_id",
        "lib_ctrlgen.controls.controlnet.instant_id:InstantID",
        f"{PARAMS}:INSTANT_ID",
    ),
    Entry("lllite", "lib_ctrlgen.controls.lllite:LLLite", f"{PARAMS}:NONE"),
    Entry(
        "ip_adapter",
        "lib_ctrlgen.controls.ip_adapter.adapter:IPAdapter",
        f"{PARAMS}:IP_ADAPTER",
        fields=("references",),
    ),
    Entry(
        "ip_adapter_face",
        "lib_ctrlgen.controls.ip_adapter.face_adapter:FaceAdapter",
        f"{PARAMS}:FACE_ADAPTER",
        needs_image=False,
        fields=("references",),
    ),
    Entry(
        "pulid",
        "lib_ctrlgen.controls.pulid.pulid:PuLID",
        f"{PARAMS}:PULID",
        fields=("references",),
    ),
    Entry(
        "gligen",
        "lib_ctrlgen.controls.gligen.gligen:Gligen",
        f"{PARAMS}:ENCODED",
        needs_image=False,
        fields=("boxes",),
    ),
    Entry("t2i_adapter", "lib_ctrlgen.controls.t2i_adapter:T2IAdapter", f"{PARAMS}:NONE"),
    Entry("t2i_style", "lib_ctrlgen.controls.t2i_style:T2IStyle", f"{PARAMS}:ENCODED"),
    Entry(
        "reference",
        "lib_ctrlgen.controls.reference:ReferencePicture",
        f"{PARAMS}:REFERENCE",
        without_model="Reference picture (no model)",
        reference_calls=True,
    ),
    Entry(
        "style_aligned",
        "lib_ctrlgen.controls.style_aligned:StyleAligned",
        f"{PARAMS}:STYLE_ALIGNED",
        without_model="StyleAligned (no model)",
        needs_image=False,
    ),
    Entry(
        "revision",
        "lib_ctrlgen.controls.revision:ReVision",
        f"{PARAMS}:REVISION",
        without_model="ReVision (no model, SDXL)",
    ),
)
PREPROCESSORS: tuple[Entry, ...] = (
    Entry("none", "lib_ctrlgen.preprocessors.none:NoPreprocessor"),
    Entry("canny", "lib_ctrlgen.preprocessors.canny:Canny"),
    Entry("invert", "lib_ctrlgen.preprocessors.invert:Invert"),
    Entry("color", "lib_ctrlgen.preprocessors.color:ColorGrid"),
    Entry("threshold", "lib_ctrlgen.preprocessors.threshold:Threshold"),
    Entry("blur_gaussian", "lib_ctrlgen.preprocessors.blur_gaussian:GaussianBlur"),
    Entry("scribble_xdog", "lib_ctrlgen.preprocessors.scribble_xdog:ScribbleXDoG"),
    Entry("lineart_standard", "lib_ctrlgen.preprocessors.lineart_standard:LineartStandard"),
    Entry("shuffle", "lib_ctrlgen.preprocessors.shuffle:Shuffle"),
    Entry("instant_id_face_keypoints", "lib_ctrlgen.preprocessors.face_keypoints:FaceKeypoints"),
    Entry("inpaint", "lib_ctrlgen.preprocessors.inpaint:Inpaint"),
    Entry("inpaint_only", "lib_ctrlgen.preprocessors.inpaint:InpaintOnly"),
    Entry("inpaint_only+lama", "lib_ctrlgen.preprocessors.inpaint:InpaintLama"),
    Entry("tile_resample", "lib_ctrlgen.preprocessors.tile:TileResample"),
    Entry("tile_colorfix", "lib_ctrlgen.preprocessors.tile:TileColorFix"),
    Entry("tile_colorfix+sharp", "lib_ctrlgen.preprocessors.tile:TileColorFixSharp"),
    Entry("recolor_luminance", "lib_ctrlgen.preprocessors.recolor:RecolorLuminance"),
    Entry("recolor_intensity", "lib_ctrlgen.preprocessors.recolor:RecolorIntensity"),
)
FAMILY_FIELDS = ("references", "boxes")  # fields of a unit that only some families take
AUTO = "auto"  # the family is found from the file's keys
MOST_CHOICES = 8  # that an error lists in full


def control_names() -> tuple[str, ...]:
    """The values that a unit's `control` may have."""
    return (AUTO, *(each.name for each in CONTROLS))


def without_model(control: str) -> bool:
    """Whether a unit's `control` names a family that has no model file."""
    return any(each.name == control and each.without_model for each in CONTROLS)


def control_without_model(title: str) -> str:
    """The name of the family without a model file that the panel's model list shows as `title`, or empty."""
    return next((each.name for each in CONTROLS if each.without_model and each.without_model == title), "")


def family_entry(name: str) -> Entry:
    """The line of a control family. Raises RequestError for an unknown name."""
    return entry(name, CONTROLS, "control")


def preprocessor_names() -> tuple[str, ...]:
    """The values that a unit's `preprocessor` may have."""
    return tuple(each.name for each in PREPROCESSORS)


def check_name(path: str, name: str, known: Iterable[str]) -> None:
    """Raise RequestError at `path` for an unknown name; it lists the known names, or the nearest of many."""
    known = tuple(known)
    if name not in known:
        raise RequestError(path, f"unknown value {name!r} ({choices(name, known)})")


def choices(given: str, known: Sequence[str]) -> str:
    """The valid names for an error: all of them, or if there are many, those nearest to the given one."""
    return f"choices: {', '.join(known)}" if len(known) <= MOST_CHOICES else nearest(given, known)


def entry(name: str, entries: Iterable[Entry], what: str, path: str = "") -> Entry:
    """The entry of this name. Raises RequestError at `path`; `what` names the kind of entry in it."""
    by_name = {each.name: each for each in entries}
    if name not in by_name:
        raise RequestError(path, f"unknown {what} {name!r}; {nearest(name, by_name)}")
    return by_name[name]
