"""The parameters of the control families that have no model file, quick to import as those in `params`."""

from __future__ import annotations

from lib_ctrlgen.request.params import Param

from .params import IMAGE_ENCODER, Params

REFERENCE: Params = (
    Param(
        name="method",
        label="Method",
        kind="choice",
        default="attention",
        choices=("attention", "adain", "both"),
        info="attention: content and style; adain: colours and textures",
    ),
    Param(
        name="style_fidelity",
        label="Style fidelity",
        kind="float",
        default=0.5,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        info="Higher: more like the picture's style; lower: freer",
    ),
    Param(
        name="adain_fidelity",
        label="Style fidelity of AdaIN",
        kind="float",
        default=-1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        off=-1.0,
        info="-1: the same as style fidelity",
        advanced=True,
    ),
    Param(
        name="attention_weight",
        label="Reach of attention",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        info="Share of the layers that see the picture, the widest first",
        advanced=True,
    ),
    Param(
        name="adain_weight",
        label="Reach of AdaIN",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
        info="1: half of the blocks; 2: all of them",
        advanced=True,
    ),
)
STYLE_ALIGNED: Params = (
    Param(
        name="share_group_norm",
        label="Also share colours and contrast",
        kind="bool",
        default=True,
        info="Group norms count the first picture, too",
        advanced=True,
    ),
    Param(
        name="shared_score_scale",
        label="Likeness (factor)",
        kind="float",
        default=1.0,
        minimum=0.0,
        maximum=4.0,
        step=0.05,
        info="Multiplies the attention to the first picture",
        advanced=True,
    ),
    Param(
        name="shared_score_shift",
        label="Likeness (shift)",
        kind="float",
        default=0.0,
        minimum=-8.0,
        maximum=8.0,
        step=0.1,
        info="Is added to the attention to the first picture",
        advanced=True,
    ),
    Param(
        name="only_self_level",
        label="Layers left alone",
        kind="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        info="Share of the layers that do not see the first picture",
        advanced=True,
    ),
)
REVISION: Params = (
    Param(
        name="noise_augmentation",
        label="Freedom",
        kind="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        info="Noise in what is seen of the picture; higher: less like it",
    ),
    Param(name="ignore_prompt", label="Ignore the prompt", kind="bool", default=False),
    IMAGE_ENCODER,
)
