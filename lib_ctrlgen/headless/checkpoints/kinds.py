"""Detects the kind of a single-file Stable Diffusion checkpoint from its tensors' names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib_ctrlgen.errors import ModelError

Tensors = Mapping[str, Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
INPUT = f"{UNET}input_blocks.0.0.weight"
SUPPORTED = "without the WebUI only SD1.5, SD2 and SDXL are supported so far"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of checkpoint. `text`: the prefixes of its text encoders; `published`: its usual yaml.

    open_clip: for each text encoder whether it has OpenCLIP's layout, else transformers'; sized: the U-Net is
    conditioned on the picture's size (SDXL); prediction_unknown: only a yaml says what the U-Net predicts.
    """

    name: str
    text: tuple[str, ...]
    open_clip: tuple[bool, ...]
    published: Path
    sized: bool = False
    prediction_unknown: bool = False

    @property
    def parts(self) -> Mapping[str, str]:
        """The prefixes of a complete checkpoint's networks, each with a name for error messages."""
        names = dict(zip(self.text, ("a CLIP text encoder", "a second CLIP text encoder"), strict=False))
        return {UNET: "a U-Net", VAE: "an autoencoder", **names}


FOLDER = Path(__file__).parent
SD1 = Kind(
    name="SD1", text=("cond_stage_model.transformer.",), open_clip=(False,), published=FOLDER / "sd15.yaml"
)
SD2 = Kind(
    name="SD2",
    text=("cond_stage_model.model.",),
    open_clip=(True,),
    published=FOLDER / "sd2.yaml",
    prediction_unknown=True,
)
SDXL = Kind(
    name="SDXL",
    text=("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    open_clip=(False, True),
    published=FOLDER / "sdxl.yaml",
    sized=True,
)

OTHERS = {
    "model.diffusion_model.joint_blocks.": "an SD3 checkpoint",
    "model.diffusion_model.x_embedder.": "an SD3 checkpoint",
    "joint_blocks.": "an SD3 network",
    "model.diffusion_model.double_blocks.": "a Flux checkpoint",
    "double_blocks.": "a Flux network",
    "conditioner.embedders.0.model.": "an SDXL refiner",
    "depth_model.": "an SD2 depth checkpoint",
    "embedder.model.": "an unCLIP checkpoint",
    "cond_stage_model.roberta.": "an AltDiffusion checkpoint",
    "edm_mean": "a Playground checkpoint",
}
CHANNELS = {9: "an inpainting checkpoint", 8: "an InstructPix2Pix checkpoint", 5: "a depth checkpoint"}


def kind_of(tensors: Tensors) -> Kind:
    """The kind of a complete checkpoint. Raises ModelError that says what the file is, or what it lacks."""
    other = next((name for prefix, name in OTHERS.items() if _has(tensors, prefix)), "")
    if other:
        raise ModelError(f"it is {other}: {SUPPORTED}")
    kind = _guess(tensors)
    missing = [name for prefix, name in kind.parts.items() if not _has(tensors, prefix)]
    if len(missing) == len(kind.parts):
        some = ", ".join(sorted(tensors)[:3])
        raise ModelError(f"it is not a Stable Diffusion checkpoint; its first keys: {some}")
    if missing:
        raise ModelError(f"it lacks {' and '.join(missing)}: use a complete checkpoint")
    require_channels(int(tensors[INPUT].shape[1]) if INPUT in tensors else 4)
    return kind


def require_channels(channels: int) -> None:
    """Raise ModelError unless the U-Net has 4 input channels (not an inpainting or pix2pix model)."""
    if channels != 4:
        name = CHANNELS.get(channels, "another kind of checkpoint")
        raise ModelError(f"it is {name} with a {channels}-channel U-Net: {SUPPORTED}, with 4 channels")


def _guess(tensors: Tensors) -> Kind:
    if _has(tensors, "conditioner."):
        return SDXL
    return SD2 if _has(tensors, SD2.text[0]) else SD1


def _has(tensors: Tensors, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in tensors)
