"""Reading a GLIGEN file: its position net and its gated blocks, as diffusers' modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.embeddings import GLIGENTextBoundingboxProjection
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.tensor_files import read_tensors

from .detect import TEXT, TEXT_IMAGE, fuser_keys, is_gligen_key, position_keys

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class GligenWeights:
    """A GLIGEN file's parts.

    position  the position net, in float32: it takes sines of up to 56 times a coordinate, which half
              precision rounds to 0.03. It stays where the weights are between uses
    fusers    a gated block for each transformer block in checkpoint order (down, up, mid), always at hand
              inside `weights.present()`
    feature   numbers in a phrase's feature and in a picture's
    images    whether it takes pictures beside the phrases
    """

    position: Any
    fusers: tuple[Any, ...]
    weights: Weights
    feature: int
    images: bool


def load_gligen(path: Path, placement: Placement, heads: Sequence[int], variant: str) -> GligenWeights:
    """Read the file for a U-Net with so many heads in each transformer block.

    Other tensors of the file, such as those of a whole U-Net, are not read. Raises ModelError when a part is
    missing or has another shape.
    """
    tensors = read_tensors(path, is_gligen_key)
    blocks = fuser_keys(tensors)
    require_number(len(blocks), len(heads), path.stem)
    own = {leaf: tensors[key] for leaf, key in position_keys(tensors).items()}
    try:
        position = _position_net(own, variant, path.stem, placement.home)
        fusers = tuple(
            _fuser({leaf: tensors[key] for leaf, key in block.items()}, number, path.stem, placement)
            for block, number in zip(blocks, heads, strict=True)
        )
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"'{path.stem}' is not a complete GLIGEN: {error}") from error
    return GligenWeights(
        position=position,
        fusers=fusers,
        weights=placed(fusers, placement, path.stem),
        feature=int(position.positive_len),
        images=variant == TEXT_IMAGE,
    )


def _position_net(own: Tensors, variant: str, name: str, home: torch.device) -> Any:
    """diffusers' position net with the file's weights. Raises KeyError, ValueError, ModelError."""
    first = "null_positive_feature" if variant == TEXT else "null_text_feature"
    last = "linears.4.weight" if variant == TEXT else "linears_text.4.weight"
    (feature,) = own[first].shape
    out = int(own[last].shape[0])
    kind = "text-only" if variant == TEXT else "text-image"
    with torch.device("meta"):
        network = GLIGENTextBoundingboxProjection(positive_len=feature, out_dim=out, feature_type=kind)
    fill(network, own, f"{name}: position_net", home, torch.float32)
    return network


def _fuser(own: Tensors, heads: int, name: str, placement: Placement) -> Any:
    """diffusers' gated block with the file's weights. Raises KeyError, ValueError, ModelError."""
    hidden, context = own["linear.weight"].shape
    if hidden % heads:
        raise ValueError(f"a gated block of width {hidden} does not divide into {heads} heads")
    with torch.device("meta"):
        network = GatedSelfAttentionDense(hidden, context, heads, hidden // heads)
    fill(network, own, f"{name}: fuser", placement.home, placement.dtype)
    return network


def require_number(blocks: int, wanted: int, name: str) -> None:
    """Raise ModelError unless there is a gated block for each transformer block of the U-Net."""
    if blocks != wanted:
        raise ModelError(
            f"'{name}' has {blocks} gated blocks, the loaded checkpoint has {wanted} transformer blocks"
        )
