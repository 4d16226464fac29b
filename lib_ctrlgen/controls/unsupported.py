"""Files that are recognised and refused, so that the error says what they are and what to take instead."""

from __future__ import annotations

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import Shapes


def refuse_sparse_control(shapes: Shapes) -> None:
    """Raise ModelError for a SparseCtrl, which has the keys of a ControlNet."""
    if not any(key.endswith(_MOTION) for key in shapes):
        return
    kind = "RGB" if "input_hint_block.0.weight" in shapes else "scribble"
    raise ModelError(
        f"recognised as SparseCtrl ({kind}): it steers the frames of an animation together with an animation "
        "host such as AnimateDiff, with which CtrlGen does not work yet"
    )


_MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"


def refuse_others(shapes: Shapes) -> None:
    """Raise ModelError for files of other kinds that people choose by mistake."""
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
