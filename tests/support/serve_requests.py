"""A request with everything that a job can have, for the page of dials."""

from copy import deepcopy
from typing import Any

from tests.support.serve_jobs import data_url, png

PICTURE, OTHER = data_url(png()), data_url(png("blue"))

BLEND: dict[str, Any] = {
    "mode": "prediction",
    "normalise": True,
    "explore": 3,
    "concepts": [
        {"prompt": "{prompt}, night", "mask": PICTURE, "mask_strength": 0.5},
        {"prompt": "day", "weight": "0.2>1", "hires": 1},
    ],
}


def everything() -> dict[str, Any]:
    """A right request whose parts have dials, and others that have none."""
    request = {
        "prompt": "a (cross:glow=1.2) on <b>red</b>: 1e3",
        "negative_prompt": "no",
        "prompt_weights": {"glow": "1>0.5"},
        "model": "ctrlgen-tiny",
        "width": 128,
        "height": 64,
        "steps": 20,
        "cfg_scale": "5@0, 3@1",
        "hires_cfg_scale": 4,
        "sampler": "Euler a",
        "scheduler": "Karras",
        "seed": -1,
        "batch_size": 2,
        "pad_cond_uncond": True,
        "units": [
            {
                "model": "ctrlgen-tiny-edges",
                "images": [PICTURE, OTHER],
                "preprocessor": [{"name": "canny", "params": {"low_threshold": 50}}, "invert"],
                "weight": "1@0, 0.5@0.4 smooth, 0@1 in 0..0.8",
                "hires": 0.5,
                "guidance_start": 0.1,
                "guidance_end": 0.9,
                "control_mode": "prompt",
                "resize_mode": "resize_and_fill",
                "layer_weights": [*[1] * 12, "1>0"],
                "masks": [OTHER, PICTURE],
                "mask_feather": 8,
                "mask_strength": "0>1",
                "reuse": 2,
                "storage": "fp8",
            },
            {
                "model": "ctrlgen-tiny-ip",
                "enabled": False,
                "image": PICTURE,
                "params": {"weight_type": "style transfer"},
                "references": [{"image": OTHER, "weight": "0.5>1"}, {"image": PICTURE, "role": "negative"}],
                "combine": "average",
                "mask": OTHER,
            },
        ],
        "blend": BLEND,
    }
    return deepcopy(request)
