"""Random GLIGEN files in the published layouts, diffusers' gated U-Nets, and units with boxes."""

import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.embeddings import GLIGENTextBoundingboxProjection
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import randomise
from tests.support.unet_calls import port_of

WIDTH = networks.CONTEXT
BOXES: list[dict[str, Any]] = [
    {"text": "a red circle", "box": [0.1, 0.2, 0.5, 0.8]},
    {"text": "a blue square", "box": [0.5, 0.0, 1.0, 0.45]},
    {"text": "a tree", "box": [0.0, 0.9, 0.25, 1.0]},
]
LDM = "model.diffusion_model."


class HashedPhrases:
    """A `PhraseEncoder` whose features are random numbers that depend on the text."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width = width
        self.texts: list[str] = []

    def origin(self) -> Hashable:
        return "hashed", self.width

    def encode(self, text: str) -> Tensor:
        self.texts.append(text)
        return torch.randn(self.width, generator=torch.Generator().manual_seed(zlib.crc32(text.encode())))


def tensors_for(unet: Any, *, images: bool = False, seed: int = 40) -> dict[str, Tensor]:
    """A GLIGEN's tensors for a U-Net, under the names of the U-Net's own layout."""
    kind = "text-image" if images else "text-only"
    width = port_of(unet).shape.family.context_dim
    parts: dict[str, nn.Module] = {
        "position_net": GLIGENTextBoundingboxProjection(width, width, kind),
    }
    for site in port_of(unet).attention_sites():
        fuser = GatedSelfAttentionDense(site.hidden, width, site.heads, site.hidden // site.heads)
        parts[site.name.replace("attn2", "fuser")] = fuser
    for place, part in enumerate(parts.values()):
        randomise(part, seed + place, 0.15)
        if isinstance(part, GatedSelfAttentionDense):
            part.alpha_attn.fill_(0.9 - 0.1 * place)
            part.alpha_dense.fill_(-0.5 + 0.1 * place)
    return {
        f"{name}.{key}": value.clone()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


def reference(unet: Any, gligen: Mapping[str, Tensor], *, images: bool = False) -> Any:
    """diffusers' gated U-Net with the weights of a U-Net of either host and of a GLIGEN in its layout."""
    config: dict[str, Any] = {
        "block_out_channels": networks.CHANNELS,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": networks.HEADS,
    }
    gated = UNet2DConditionModel(attention_type="gated-text-image" if images else "gated", **config)
    whole = {**unet.state_dict(), **gligen}
    if hasattr(unet, "input_blocks"):
        position = {key: value for key, value in whole.items() if key.startswith("position_net.")}
        rest = {LDM + key: value for key, value in whole.items() if key not in position}
        whole = {**convert_ldm_unet_checkpoint(rest, dict(gated.config)), **position}
    gated.load_state_dict(whole)
    return gated.eval().requires_grad_(False)


def grounded(
    rows: Mapping[int, list[dict[str, Any]]], batch: int, pictures: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The arguments `gligen` of diffusers' gated U-Net: the boxes of each row; none in the other rows.

    `pictures` are the features of the boxes' pictures by their texts, for a text-image GLIGEN.
    """
    phrases = HashedPhrases()
    boxes, masks = torch.zeros(batch, 30, 4), torch.zeros(batch, 30)
    texts, shown, seen = torch.zeros(batch, 30, WIDTH), torch.zeros(batch, 30, WIDTH), torch.zeros(batch, 30)
    for row, own in rows.items():
        for place, box in enumerate(own):
            boxes[row, place], masks[row, place] = torch.tensor(box["box"]), 1
            texts[row, place] = phrases.encode(box["text"])
            if pictures and box["text"] in pictures:
                shown[row, place], seen[row, place] = pictures[box["text"]], 1
    if pictures is None:
        return {"boxes": boxes, "masks": masks, "positive_embeddings": texts}
    return {
        "boxes": boxes,
        "masks": masks,
        "phrases_embeddings": texts,
        "phrases_masks": masks,
        "image_embeddings": shown,
        "image_masks": seen,
    }


def save(tensors: Mapping[str, Tensor], path: Path, prefix: str = "") -> Path:
    """Write a safetensors file."""
    save_file({f"{prefix}{key}": value.contiguous() for key, value in tensors.items()}, path)
    return path


def save_clip(folder: Path, width: int = WIDTH) -> tuple[Any, Tensor]:
    """A whole CLIP as a folder, with projections of this width; its vision tower and text projection."""
    vision = files.save_vision(folder, projection=width)
    projection = torch.randn(width, width, generator=torch.Generator().manual_seed(9)) * 0.3
    path = folder / "model.safetensors"
    save_file({**load_file(path), "text_projection.weight": projection}, path)
    return vision, projection


def unit(boxes: list[dict[str, Any]] | None = None, **fields: Any) -> ControlUnit:
    """A unit with boxes."""
    payload = {
        "model": "gligen",
        "boxes": BOXES if boxes is None else boxes,
        **fields,
    }
    return parse_request({"units": [payload]}).units[0]


def target_of(folder: Path, unet: Any, **fields: Any) -> Target:
    """What units in a folder are loaded for, with `HashedPhrases`."""
    known: dict[str, Any] = {"store": ModelStore([folder], 1 << 30), "phrases": HashedPhrases(), **fields}
    return Target(shape=port_of(unet).shape, unet=unet, **known)


def loaded(folder: Path, unet: Any, *units: ControlUnit, **fields: Any) -> tuple[ActiveUnit, ...]:
    """The units, loaded for a U-Net."""
    return load_units(units or (unit(),), target_of(folder, unet, **fields))
