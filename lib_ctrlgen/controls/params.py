"""The parameters of the control families, in a module that is quick to import: the panel is built from them.

The lines of `lib_ctrlgen.request.catalogue.CONTROLS` and the families' classes name the same tuples.
"""

from __future__ import annotations

from lib_ctrlgen.controls.controlnet.union_types import AUTO, CHOICES
from lib_ctrlgen.faces.face import FACE_CHOICE
from lib_ctrlgen.request.params import Param

Params = tuple[Param, ...]

IMAGE_ENCODER = Param(
    name="image_encoder",
    label="Image encoder",
    kind="text",
    default="",
    info="Folder of the CLIP vision model. Empty: the one that fits the file",
    advanced=True,
)

NONE: Params = ()
ENCODED: Params = (IMAGE_ENCODER,)
WEIGHT_TYPES = (
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
    "strong style and composition",
)
EMBEDS_SCALINGS = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")
CROPS = ("center", "top", "bottom", "left", "right", "pad")
NOISES = ("none", "fade", "dissolve", "gaussian", "shuffle")


def _chosen(
    name: str, label: str, choices: tuple[str, ...], info: str = "", *, advanced: bool = False
) -> Param:
    """A choice whose default is its first value."""
    return Param(
        name=name,
        label=label,
        kind="choice",
        default=choices[0],
        choices=choices,
        info=info,
        advanced=advanced,
    )


def _float(
    name: str,
    label: str,
    low: float,
    high: float,
    default: float,
    info: str = "",
    *,
    advanced: bool = False,
) -> Param:
    """A number with a step of 0.05."""
    return Param(
        name=name,
        label=label,
        kind="float",
        default=default,
        minimum=low,
        maximum=high,
        step=0.05,
        info=info,
        advanced=advanced,
    )


def _whole(name: str, label: str, info: str) -> Param:
    """An advanced whole number from 1 to 16, at first 1."""
    return Param(
        name=name,
        label=label,
        kind="int",
        default=1,
        minimum=1,
        maximum=16,
        step=1,
        info=info,
        advanced=True,
    )


LAYERED: Params = (
    _chosen(
        "weight_type",
        "Weight type",
        WEIGHT_TYPES,
        "What is taken from the picture: everything (linear), only its style, or only its composition",
    ),
    _float(
        "composition_weight",
        "Composition weight",
        -1,
        5,
        1.0,
        "For style and composition",
        advanced=True,
    ),
    _float("style_boost", "Style boost", -5, 5, 1.0, "For style transfer precise", advanced=True),
    _float(
        "composition_boost",
        "Composition boost",
        -5,
        5,
        0.0,
        "For composition precise",
        advanced=True,
    ),
    Param(
        name="layers",
        label="Weights of single layers",
        kind="text",
        default="",
        info="Layer:weight, such as 3:1.0, 6:0.5; the other layers get 0",
        advanced=True,
    ),
    _chosen(
        "embeds_scaling",
        "What the weight changes",
        EMBEDS_SCALINGS,
        "V only: how much is added. With K: also how strongly the layers look at the picture",
        advanced=True,
    ),
)
IP_ADAPTER: Params = (
    IMAGE_ENCODER,
    *LAYERED,
    _chosen("crop", "Part of the picture", CROPS, "The square that is seen; pad: all of it, on black"),
    _float("sharpening", "Sharpening", 0, 1, 0.0, "Sharpens the picture before it is seen", advanced=True),
    _whole("tiles", "Tiles", "Cuts a long picture into so many parts, each for its part of the result"),
    _whole("enhance_tiles", "Details", "Also sees the picture in n x n parts (1: no)"),
    _float(
        "enhance_ratio",
        "Whole picture beside the details",
        0,
        1,
        1.0,
        "Weight of the whole picture, if there are details",
        advanced=True,
    ),
    _chosen(
        "negative_noise",
        "Noise as the negative picture",
        NOISES,
        "Leads away from a noisy version of the picture",
        advanced=True,
    ),
    _float("negative_noise_strength", "Strength of the noise", 0, 1, 1.0, advanced=True),
)
CONTROLNET: Params = (
    Param(
        name="transparent",
        label="Transparent pixels",
        kind="choice",
        default="auto",
        choices=("auto", "white", "holes"),
        info="auto: holes to fill for inpainting models, white for others",
        advanced=True,
    ),
)
UNION: Params = (
    Param(
        name="union_type",
        label="Type of the map",
        kind="choice",
        default=AUTO,
        choices=CHOICES,
        info="auto: the type that the preprocessor makes",
    ),
)
FACE = Param(
    name="face",
    label="Saved faces",
    kind="embedding",
    default="",
    info="Embeddings (.safetensors). The first takes the place of the face in the picture",
)
AUTO_VARIANT = "auto"
VARIANT = Param(
    name="variant",
    label="Variant of the file",
    kind="choice",
    default=AUTO_VARIANT,
    choices=(AUTO_VARIANT, "faceid_plus", "faceid_plus_v2", "portrait_unnorm", "instant_id"),
    info="auto: by its name; choose it for a renamed file",
    advanced=True,
)
FACEID_V2_WEIGHT = _float(
    "faceid_v2_weight",
    "Look of the face",
    -1,
    5,
    1.0,
    "FaceID-plus v2: weight of the face's picture beside its identity",
    advanced=True,
)
LORA_WEIGHT = _float("lora_weight", "LoRA weight", -2, 2, 1.0, "Of the LoRA in a FaceID file (0: without)")
ADAPTER_WEIGHT = _float(
    "adapter_weight",
    "Likeness of the face",
    0,
    3,
    0.8,
    "Weight of InstantID's IP-Adapter (0: only the pose and the face's place)",
)
FACE_ADAPTER: Params = (FACE, FACE_CHOICE, VARIANT, FACEID_V2_WEIGHT, LORA_WEIGHT, IMAGE_ENCODER, *LAYERED)
INSTANT_ID: Params = (
    FACE,
    Param(
        name="face_image",
        label="Picture of the face",
        kind="image",
        default="",
        info="Empty: the unit's picture shows both the pose and the face",
    ),
    FACE_CHOICE,
    Param(
        name="face_adapter",
        label="IP-Adapter of InstantID",
        kind="text",
        default="",
        info="Name of its file. Empty: the one that is there",
        advanced=True,
    ),
    ADAPTER_WEIGHT,
)
BY_PRESET = -1
PULID_PRESET = _chosen(
    "preset",
    "Method",
    ("fidelity", "style", "neutral"),
    "fidelity: likeness first; style: the prompt's style first; neutral: no protection of the prompt",
)
ZERO_TOKENS = Param(
    name="zero_tokens",
    label="Empty tokens",
    kind="int",
    default=BY_PRESET,
    minimum=BY_PRESET,
    maximum=32,
    step=1,
    info="More: a weaker likeness (-1: by the method)",
    advanced=True,
)
PULID: Params = (FACE, FACE_CHOICE, PULID_PRESET, ZERO_TOKENS, *LAYERED)
