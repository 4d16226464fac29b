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
    Param(
        name="face",
        label="Face embedding (base64 of safetensors or float32, or JSON); empty: found in the picture",
        kind="text",
        default="",
    ),
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
)
