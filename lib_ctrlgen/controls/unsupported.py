"""Refuses files that are recognised but not supported, with an error that says what they are."""

from __future__ import annotations

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import Shapes


def refuse_sparse_control(shapes: Shapes) -> None:
    """Raise ModelError for a SparseCtrl, which has all keys of a ControlNet."""
    if not any(key.endswith(_MOTION) for key in shapes):
        return
    kind = "RGB" if "input_hint_block.0.weight" in shapes else "scribble"
    raise ModelError(
        f"recognised as SparseCtrl ({kind}): it controls the frames of a video pipeline such as AnimateDiff, "
        "and CtrlGen supports none yet"
    )


_MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"


def refuse_others(shapes: Shapes) -> None:
    """Raise ModelError for files that are no controls and that users may choose by mistake."""
    for part, name in _OTHERS.items():
        if any(part in key for key in shapes):
            raise ModelError(f"recognised as {name}: choose a control model")


_OTHERS = {
    "exp_avg": "an optimizer's state: take the pytorch_model.bin or model.safetensors beside it",
    "controlnet_x_embedder.": "a ControlNet for Flux, which does not fit the U-Nets of SD1.5, SD2 and SDXL",
    "controlnet_blocks.": "a ControlNet for a transformer such as SD3, which does not fit a U-Net",
    "pulid_ca.": "a PuLID for Flux, which does not fit the U-Net of SDXL: take pulid_v1 or pulid_v1.1",
    "model.diffusion_model.": "a checkpoint, which is no control",
    "lora_unet_": "a LoRA, which is no control",
    "vision_model.": "a CLIP encoder, which is no control",
    "down_blocks.": "a diffusers network, which is no control",
}
