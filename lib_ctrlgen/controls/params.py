"""The parameters of the control families, in a module that is quick to import: the panel is built from them.

The lines of `lib_ctrlgen.request.catalogue.CONTROLS` and the families' classes name the same tuples.
"""

from __future__ import annotations

from lib_ctrlgen.controls.controlnet.union_types import AUTO, CHOICES
from lib_ctrlgen.faces.face import FACE_CHOICE
from lib_ctrlgen.request.params import Param

Params = tuple[Param, ...]

IMAGE_ENCODER = Param(
    name="image_encoder", label="Image encoder (folder name, empty: automatic)", kind="text", default=""
)

NONE: Params = ()
ENCODED: Params = (IMAGE_ENCODER,)
CONTROLNET: Params = (
    Param(
        name="transparent",
        label="Transparent pixels (auto: holes for inpainting files, else white)",
        kind="choice",
        default="auto",
        choices=("auto", "white", "holes"),
    ),
)
UNION: Params = (
    Param(
        name="union_type",
        label="Type of the map (auto: by the preprocessor)",
        kind="choice",
        default=AUTO,
        choices=CHOICES,
    ),
)
FACE = Param(
    name="face",
    label="Face embedding (base64 of safetensors or float32, or JSON); empty: found in the picture",
    kind="text",
    default="",
)
AUTO_VARIANT = "auto"
VARIANT = Param(
    name="variant",
    label="Variant (auto: by the file's metadata or name), where its tensors fit two",
    kind="choice",
    default=AUTO_VARIANT,
    choices=(AUTO_VARIANT, "faceid_plus", "faceid_plus_v2", "portrait_unnorm", "instant_id"),
)
FACEID_V2_WEIGHT = Param(
    name="faceid_v2_weight",
    label="FaceID-plus v2: weight of the face's picture beside its identity",
    kind="float",
    default=1.0,
    minimum=-1.0,
    maximum=5.0,
    step=0.05,
)
LORA_WEIGHT = Param(
    name="lora_weight",
    label="Weight of the LoRA in a FaceID file (0: without)",
    kind="float",
    default=1.0,
    minimum=-2.0,
    maximum=2.0,
    step=0.05,
)
ADAPTER_WEIGHT = Param(
    name="adapter_weight",
    label="Weight of the image attention beside the ControlNet (0: ControlNet alone)",
    kind="float",
    default=0.8,
    minimum=0.0,
    maximum=3.0,
    step=0.05,
)
FACE_ADAPTER: Params = (FACE, FACE_CHOICE, VARIANT, FACEID_V2_WEIGHT, LORA_WEIGHT, *ENCODED)
INSTANT_ID: Params = (
    FACE,
    Param(
        name="face_image",
        label="Picture of the face (base64), where it is not the unit's picture",
        kind="text",
        default="",
    ),
    FACE_CHOICE,
    Param(
        name="face_adapter",
        label="InstantID's IP-Adapter file; empty: the one that is there",
        kind="text",
        default="",
    ),
    ADAPTER_WEIGHT,
)
