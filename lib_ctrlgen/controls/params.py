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


def _chosen(name: str, label: str, choices: tuple[str, ...]) -> Param:
    """A choice whose default is its first value."""
    return Param(name=name, label=label, kind="choice", default=choices[0], choices=choices)


def _float(name: str, label: str, low: float, high: float, default: float) -> Param:
    """A number with a step of 0.05."""
    return Param(name=name, label=label, kind="float", default=default, minimum=low, maximum=high, step=0.05)


def _whole(name: str, label: str) -> Param:
    """A whole number from 1 to 16, at first 1."""
    return Param(name=name, label=label, kind="int", default=1, minimum=1, maximum=16, step=1)


LAYERED: Params = (
    _chosen("weight_type", "Weight type (which layers get the weight)", WEIGHT_TYPES),
    _float("composition_weight", "Composition weight, for the types with style and composition", -1, 5, 1.0),
    _float("style_boost", "Style boost (style transfer precise)", -5, 5, 1.0),
    _float("composition_boost", "Composition boost (composition precise)", -5, 5, 0.0),
    Param(name="layers", label='Weights by layer, such as "3:1.0, 6:0.5"', kind="text", default=""),
    _chosen("embeds_scaling", "What the weight multiplies", EMBEDS_SCALINGS),
)
IP_ADAPTER: Params = (
    IMAGE_ENCODER,
    *LAYERED,
    _chosen("crop", "Part of the picture that the encoder sees", CROPS),
    _float("sharpening", "Sharpening of the picture", 0, 1, 0.0),
    _whole("tiles", "Tiles that the picture is cut into (1: not cut)"),
    _whole("enhance_tiles", "Details: also see the picture in n x n parts (1: no)"),
    _float("enhance_ratio", "Weight of the whole picture beside its details", 0, 1, 1.0),
    _chosen("negative_noise", "Noise as the negative picture", NOISES),
    _float("negative_noise_strength", "Strength of that noise", 0, 1, 1.0),
)
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
FACEID_V2_WEIGHT = _float(
    "faceid_v2_weight", "FaceID-plus v2: weight of the face's picture beside its identity", -1, 5, 1.0
)
LORA_WEIGHT = _float("lora_weight", "Weight of the LoRA in a FaceID file (0: without)", -2, 2, 1.0)
ADAPTER_WEIGHT = _float(
    "adapter_weight", "Weight of the image attention beside the ControlNet (0: ControlNet alone)", 0, 3, 0.8
)
FACE_ADAPTER: Params = (FACE, FACE_CHOICE, VARIANT, FACEID_V2_WEIGHT, LORA_WEIGHT, IMAGE_ENCODER, *LAYERED)
REFERENCE: Params = (
    Param(
        name="method",
        label="What sees the picture: self attention, the blocks' statistics (AdaIN), or both",
        kind="choice",
        default="attention",
        choices=("attention", "adain", "both"),
    ),
    Param(
        name="style_fidelity",
        label="Style fidelity: the part of the unconditional side that does not see the picture",
        kind="float",
        default=0.5,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    ),
    Param(
        name="adain_fidelity",
        label="Style fidelity of AdaIN (-1: the same)",
        kind="float",
        default=-1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        off=-1.0,
    ),
    Param(
        name="attention_weight",
        label="Share of the self attentions that see the picture, the widest first",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    ),
    Param(
        name="adain_weight",
        label="Reach of AdaIN: 1 is half of the blocks, 2 all of them",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
    ),
)
STYLE_ALIGNED: Params = (
    Param(
        name="share_group_norm",
        label="Group norms count the first picture too",
        kind="bool",
        default=True,
    ),
    Param(
        name="shared_score_scale",
        label="Factor of the first picture's keys",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=4.0,
        step=0.05,
    ),
    Param(
        name="shared_score_shift",
        label="Added to the attention to the first picture",
        kind="float",
        default=0.0,
        minimum=-8.0,
        maximum=8.0,
        step=0.1,
    ),
    Param(
        name="only_self_level",
        label="Share of the self attentions that are left alone",
        kind="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    ),
)
REVISION: Params = (
    Param(
        name="noise_augmentation",
        label="Noise in the image embedding (0: none)",
        kind="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    ),
    Param(name="ignore_prompt", label="Ignore the prompt", kind="bool", default=False),
    IMAGE_ENCODER,
)
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
BY_METHOD = -1
PULID_PRESET = _chosen("preset", "Likeness, or the prompt's style, first", ("fidelity", "style", "neutral"))
ZERO_TOKENS = Param(
    name="zero_tokens",
    label="Tokens of zeros beside the face's (-1: by the method)",
    kind="int",
    default=BY_METHOD,
    minimum=BY_METHOD,
    maximum=32,
    step=1,
)
PULID: Params = (FACE, FACE_CHOICE, PULID_PRESET, ZERO_TOKENS, *LAYERED)
