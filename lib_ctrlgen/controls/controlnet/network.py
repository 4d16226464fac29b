"""Runs a ControlNet's network, in one call for all units that share it.

Zhang, Rao and Agrawala 2023, Adding Conditional Control to Text-to-Image Diffusion Models.
The network is diffusers' `ControlNetModel`, unchanged, but its hint encoder and the embedding of SDXL's
vector are called separately: so a hint is encoded once per picture and size instead of at every step, and
the vector may come from sgm's or from diffusers' U-Net.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.models.embeddings import Timesteps
from torch import Tensor, nn

from lib_ctrlgen.controls.assigned_map import AnyMap
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.offload import Weights
from lib_ctrlgen.unet.call import CallInputs, UNetCall
from lib_ctrlgen.unet.residuals import Residuals

from .detect import controlnet_kind


@dataclass(frozen=True, kw_only=True)
class NetworkInputs:
    """The network's inputs for one unit.

    call   the call of the U-Net, with its rows
    hint   the hint [1, C, h, w] for all rows, or that of each row
    kinds  an addition [1, E] to the time embedding for a Union's map types, or None
    """

    call: UNetCall
    hint: Tensor
    kinds: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ControlNetwork:
    """A loaded network. If `pooled`, each residual is replaced by its mean over the picture (Shuffle)."""

    name: ClassVar[str]

    network: Any
    hint_encoder: nn.Module
    vector_embedding: nn.Module | None = None
    pooled: bool = False
    origin: tuple[Hashable, ...]  # a cache key: the file, and the storage format of the weights
    weights: Weights  # of the network and of the vector embedding
    hint_weights: Weights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a file of this family, None for other files. Raises ModelError for a broken one."""
        kind = controlnet_kind(shapes)
        return kind if kind is not None and kind.control == cls.name else None

    @property
    def layers(self) -> int:
        """The number of residuals per row: encoder outputs and the mid block (13 on SD1.5, 10 on SDXL)."""
        return len(self.network.controlnet_down_blocks) + 1

    @property
    def factor(self) -> int:
        """Pixels of the control map per latent pixel: the hint encoder's strides (8)."""
        return math.prod(
            layer.stride[0] for layer in self.hint_encoder.modules() if isinstance(layer, nn.Conv2d)
        )

    @property
    def map_channels(self) -> int:
        """The channels of the control map that the hint encoder reads: 3 (RGB) or 1 (brightness)."""
        convolutions = (layer for layer in self.hint_encoder.modules() if isinstance(layer, nn.Conv2d))
        return next(convolutions).in_channels

    @property
    def like(self) -> Tensor:
        """A tensor of the network's dtype and on its device."""
        return self.weights.like

    def hint(self, shown: AnyMap, size: tuple[int, int]) -> Tensor:
        """The hint [1, C, h, w] of a unit's control map, for a latent of `size` (height, width).

        It is cached in the model store beside the map, so that each picture is encoded once per size.
        Assigned maps of B rows are encoded to [B, C, h, w] at every call.
        """
        like = self.like
        height, width = size
        pixels = width * self.factor, height * self.factor

        def embedded() -> Tensor:
            with self.hint_weights.present():
                found: Tensor = self.hint_encoder(shown.pixels(*pixels, self.map_channels).to(like))
            return found

        key = ("hint", *self.origin, like.dtype, like.device, shown.hole, *shown.key(*pixels))
        hint: Tensor = shown.kept(key, embedded)
        return hint

    def run(self, call: UNetCall, *args: Any, **options: Any) -> Any:
        """Call the network; a subclass may replace weights for the U-Net of `call`."""
        del call
        return self.network(*args, **options)

    def together(self, parts: Sequence[NetworkInputs]) -> list[Residuals]:
        """The unweighted residuals of each part, from one call with the rows of all. Raises HostError."""
        with self.weights.present():
            down, mid = self.answer(parts)
        rows = [part.call.batch for part in parts]
        layers = [pooled(layer) if self.pooled else layer for layer in (*down, mid)]
        shares = zip(*(layer.split(rows) for layer in layers), strict=True)
        return [Residuals(share[:-1], share[-1]) for share in shares]

    def answer(self, parts: Sequence[NetworkInputs]) -> Any:
        """The network's encoder outputs and its mid block's for the rows of all parts, in one batch."""
        like, inputs = self.like, [part.call.inputs for part in parts]
        return self.run(
            parts[0].call,
            joined([each.x[:, : self.network.config.in_channels] for each in inputs]).to(like),
            joined([each.timestep for each in inputs]).to(like.device),
            joined([each.context for each in inputs]).to(like),
            joined_hints(parts),
            class_labels=joined([self.time_addition(part) for part in parts]),
            return_dict=False,
        )

    def time_addition(self, part: NetworkInputs) -> Tensor:
        """The addition to the time embedding of the rows [B, E]; zeros [B, 1] without a vector and types."""
        like = self.like
        found: Tensor = like.new_zeros((part.call.batch, 1))
        embedding: Any = self.vector_embedding
        if embedding is not None:
            found = embedding(vector(part.call.inputs, embedding.linear_1.in_features).to(like))
        return found if part.kinds is None else found + part.kinds


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate the rows of tensors; a single tensor is returned as it is."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def joined_hints(parts: Sequence[NetworkInputs]) -> Tensor:
    """The hint of each row [rows, C, h, w]; for a single part, [1, C, h, w] for all rows."""
    if len(parts) == 1:
        return parts[0].hint
    return torch.cat([part.hint.expand(part.call.batch, -1, -1, -1) for part in parts])


def pooled(layer: Tensor) -> Tensor:
    """Global average pooling: each channel's spatial mean, expanded back to [B, C, h, w]."""
    return layer.mean((2, 3), keepdim=True).expand_as(layer)


def vector(inputs: CallInputs, width: int) -> Tensor:
    """SDXL's vector [B, width]: sgm's `y`, or diffusers' text_embeds and embedded time_ids, concatenated.

    Raises HostError if the U-Net was called without a vector, or with one of another width.
    """
    added = inputs.added
    if "y" in added:
        found: Tensor = added["y"]
    elif "text_embeds" in added and "time_ids" in added:
        text, sizes = added["text_embeds"], added["time_ids"]
        waves = Timesteps((width - text.shape[1]) // sizes.shape[1], True, 0)
        found = torch.cat((text, waves(sizes.flatten()).reshape(len(text), -1).to(text)), dim=1)
    else:
        raise HostError("the U-Net was called without SDXL's vector, which the ControlNet needs")
    if found.shape[1] != width:
        raise HostError(
            f"the U-Net was called with a vector of {found.shape[1]} numbers, the ControlNet takes {width}: "
            "it was made for another kind of checkpoint, perhaps for a refiner"
        )
    return found
