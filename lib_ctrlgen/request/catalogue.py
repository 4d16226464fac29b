"""The control families and preprocessors that a request can name, one line each.

A line holds the name and the place of the class, which is imported when it is first used. So this table can
be read without torch, and a missing or broken package stops only the requests that need it.

>>> entry("canny", PREPROCESSORS, "preprocessor").place
'lib_ctrlgen.preprocessors.canny:Canny'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from lib_ctrlgen.errors import RequestError, nearest

from .encoder_names import encoder_name, without_map
from .params import Param


@dataclass(frozen=True)
class Entry:
    """A name that requests use, and where its class is: `package.module:Class`.

    `params_place` is where the class's `params` are without importing the class, for a family whose module
    takes seconds to import: the WebUI's panel is built from them at start. Empty: read from the class.
    `without_model` is what the panel's model list shows for a family that has no model file; empty for the
    others. `needs_image` is False for a control family whose units can do without a picture.
    `reference_calls` is whether a unit costs a further call of the U-Net, with its picture, at each step.
    `fields` are those of `FAMILY_FIELDS` that units of the family may have. `unused` are the other fields
    of a unit that do nothing in the family or are refused; the panel hides them.
    """

    name: str
    place: str
    params_place: str = ""
    without_model: str = ""
    needs_image: bool = True
    reference_calls: bool = False
    fields: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

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
FILELESS_PARAMS = "lib_ctrlgen.controls.fileless_params"
# What families do not use that read a picture instead of a control map, and those without weights.
NO_MAP = ("preprocessor", "control_mode", "reuse")
NO_WEIGHTS = ("low_vram", "storage")
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
    Entry("lllite", "lib_ctrlgen.controls.lllite:LLLite", f"{PARAMS}:NONE", unused=("reuse",)),
    Entry(
        "ip_adapter",
        "lib_ctrlgen.controls.ip_adapter.adapter:IPAdapter",
        f"{PARAMS}:IP_ADAPTER",
        fields=("references",),
        unused=NO_MAP,
    ),
    Entry(
        "ip_adapter_face",
        "lib_ctrlgen.controls.ip_adapter.face_adapter:FaceAdapter",
        f"{PARAMS}:FACE_ADAPTER",
        needs_image=False,
        fields=("references",),
        unused=NO_MAP,
    ),
    Entry(
        "pulid",
        "lib_ctrlgen.controls.pulid.pulid:PuLID",
        f"{PARAMS}:PULID",
        fields=("references",),
        unused=NO_MAP,
    ),
    Entry(
        "gligen",
        "lib_ctrlgen.controls.gligen.gligen:Gligen",
        f"{PARAMS}:ENCODED",
        needs_image=False,
        fields=("boxes",),
        unused=(*NO_MAP, "image"),
    ),
    Entry("t2i_adapter", "lib_ctrlgen.controls.t2i_adapter:T2IAdapter", f"{PARAMS}:NONE", unused=("reuse",)),
    Entry("t2i_style", "lib_ctrlgen.controls.t2i_style:T2IStyle", f"{PARAMS}:ENCODED", unused=NO_MAP),
    Entry(
        "reference",
        "lib_ctrlgen.controls.reference:ReferencePicture",
        f"{FILELESS_PARAMS}:REFERENCE",
        without_model="Reference picture (no model)",
        reference_calls=True,
        unused=("preprocessor", *NO_WEIGHTS),
    ),
    Entry(
        "style_aligned",
        "lib_ctrlgen.controls.style_aligned:StyleAligned",
        f"{FILELESS_PARAMS}:STYLE_ALIGNED",
        without_model="StyleAligned (no model)",
        needs_image=False,
        unused=(*NO_MAP, *NO_WEIGHTS, "image"),
    ),
    Entry(
        "revision",
        "lib_ctrlgen.controls.revision:ReVision",
        f"{FILELESS_PARAMS}:REVISION",
        without_model="ReVision (no model, SDXL)",
        unused=(*NO_MAP, "mask", "layer_weights", "resize_mode", "inpaint_crop"),
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
    Entry("hed", "lib_ctrlgen.preprocessors.hed:Hed"),
    Entry("hed_safe", "lib_ctrlgen.preprocessors.hed:HedSafe"),
    Entry("scribble_hed", "lib_ctrlgen.preprocessors.hed:ScribbleHed"),
    Entry("pidinet", "lib_ctrlgen.preprocessors.pidinet:PidiNet"),
    Entry("pidinet_safe", "lib_ctrlgen.preprocessors.pidinet:PidiNetSafe"),
    Entry("pidinet_sketch", "lib_ctrlgen.preprocessors.pidinet:PidiNetSketch"),
    Entry("pidinet_scribble", "lib_ctrlgen.preprocessors.pidinet:ScribblePidiNet"),
    Entry("softedge_teed", "lib_ctrlgen.preprocessors.teed:Teed"),
    Entry("softedge_anyline", "lib_ctrlgen.preprocessors.teed:Anyline"),
    Entry("mlsd", "lib_ctrlgen.preprocessors.mlsd:Mlsd"),
    Entry("lineart", "lib_ctrlgen.preprocessors.lineart:Lineart"),
    Entry("lineart_coarse", "lib_ctrlgen.preprocessors.lineart:LineartCoarse"),
    Entry("lineart_anime", "lib_ctrlgen.preprocessors.lineart_anime:LineartAnime"),
    Entry("lineart_anime_denoise", "lib_ctrlgen.preprocessors.lineart_anime_denoise:LineartAnimeDenoise"),
    Entry("depth", "lib_ctrlgen.preprocessors.midas:MidasDepth"),
    Entry("depth_anything", "lib_ctrlgen.preprocessors.depth_anything:DepthAnything"),
    Entry("depth_anything_v2", "lib_ctrlgen.preprocessors.depth_anything:DepthAnythingV2"),
    Entry("depth_leres", "lib_ctrlgen.preprocessors.leres:LeresDepth"),
    Entry("depth_leres++", "lib_ctrlgen.preprocessors.leres_boost:LeresBoost"),
    Entry("depth_zoe", "lib_ctrlgen.preprocessors.zoe:ZoeDepth"),
    Entry("normal_map", "lib_ctrlgen.preprocessors.midas:MidasNormals"),
    Entry("normal_bae", "lib_ctrlgen.preprocessors.normal_bae:NormalBae"),
    Entry("normal_dsine", "lib_ctrlgen.preprocessors.normal_dsine:NormalDsine"),
    Entry("oneformer_ade20k", "lib_ctrlgen.preprocessors.segmentation:Segmentation"),
    Entry("oneformer_coco", "lib_ctrlgen.preprocessors.segmentation:SegmentationCoco"),
    Entry("segmentation", "lib_ctrlgen.preprocessors.segmentation:SegmentationUperNet"),
    Entry("anime_face_segment", "lib_ctrlgen.preprocessors.anime_face_segment:AnimeFaceSegment"),
    Entry("openpose", "lib_ctrlgen.preprocessors.poses.openpose:Openpose"),
    Entry("openpose_face", "lib_ctrlgen.preprocessors.poses.openpose:OpenposeFace"),
    Entry("openpose_faceonly", "lib_ctrlgen.preprocessors.poses.openpose:OpenposeFaceOnly"),
    Entry("openpose_hand", "lib_ctrlgen.preprocessors.poses.openpose:OpenposeHand"),
    Entry("openpose_full", "lib_ctrlgen.preprocessors.poses.openpose:OpenposeFull"),
    Entry("dw_openpose_full", "lib_ctrlgen.preprocessors.poses.whole_body:WholeBody"),
    Entry("animal_openpose", "lib_ctrlgen.preprocessors.poses.animals:AnimalOpenpose"),
    Entry("mobile_sam", "lib_ctrlgen.preprocessors.mobile_sam:MobileSam"),
    Entry("mediapipe_face", "lib_ctrlgen.preprocessors.mediapipe_face:MediapipeFace"),
    Entry("openpose_json", "lib_ctrlgen.preprocessors.openpose_json:OpenposeJson"),
    Entry("densepose", "lib_ctrlgen.preprocessors.densepose:DensePose"),
    Entry("densepose_parula", "lib_ctrlgen.preprocessors.densepose:DensePoseParula"),
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
# Preprocessors of sd-webui-controlnet that CtrlGen does not have: the reason, and what to take instead.
MISSING_PREPROCESSORS: Mapping[str, str] = MappingProxyType(
    {
        "depth_hand_refiner": "it needs MeshGraphormer, which no maintained package has, and the hand "
        "model MANO, which each user has to get from its authors: use 'depth_anything_v2'",
    }
)
# The labels of preprocessors in sd-webui-controlnet, where they differ from the names. Requests may use both.
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "invert (from white bg & black line)": "invert",
        "t2ia_color_grid": "color",
        "lineart_standard (from white bg & black line)": "lineart_standard",
        "softedge_hed": "hed",
        "softedge_hedsafe": "hed_safe",
        "softedge_pidinet": "pidinet",
        "softedge_pidisafe": "pidinet_safe",
        "t2ia_sketch_pidi": "pidinet_sketch",
        "scribble_pidinet": "pidinet_scribble",
        "lineart_realistic": "lineart",
        "depth_midas": "depth",
        "normal_midas": "normal_map",
        "seg_ofade20k": "oneformer_ade20k",
        "seg_ofcoco": "oneformer_coco",
        "seg_ufade20k": "segmentation",
        "seg_anime_face": "anime_face_segment",
        "densepose (pruple bg & purple torso)": "densepose",
        "densepose_parula (black bg & blue torso)": "densepose_parula",
        "inpaint_global_harmonious": "inpaint",
    }
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


def preprocessor_named(path: str, given: str) -> str:
    """The name of the preprocessor with this name or label.

    Raises RequestError at `path` if there is none, with what to take instead.
    """
    name, encoder = LABELS.get(given, given), encoder_name(given)
    if encoder is not None:
        raise RequestError(path, without_map(encoder))
    if name in MISSING_PREPROCESSORS:
        raise RequestError(path, f"there is no preprocessor {name!r}: {MISSING_PREPROCESSORS[name]}")
    check_name(path, name, preprocessor_names())
    return name


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
