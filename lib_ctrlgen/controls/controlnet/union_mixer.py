"""The parts of a ControlNet Union that a ControlNet does not have: type embeddings, and a shift of each hint.

The published network attends over the rows of the batch and not over the maps. As long as all rows have the
same map, as in every pipeline, the shift of a map depends on the mean of this map alone. Here the network
gets a single row: the result is the same, and rows are independent of each other. diffusers has the network
since 0.32 (`ControlNetUnionModel`), and CtrlGen supports 0.31.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.loading import fill

_OWN = re.compile(r"task_embedding$|transformer_layes\.|spatial_ch_projs\.|control_add_embedding\.")


class QuickGELU(nn.Module):
    """CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to each element of a tensor of any shape."""
        return x * torch.sigmoid(1.702 * x)


class MixerBlock(nn.Module):
    """A transformer block that treats each token on its own, with the parameter names of the files."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 1)  # with one token the number of heads has no effect
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [1, N, C] for N tokens that do not attend to each other."""
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class UnionMixer(nn.Module):
    """Computes type embeddings and shifts.

    `count` is the number of types, `width` the channels of a hint, `time` those of the time embedding.
    """

    def __init__(self, count: int, width: int, time: int, blocks: int, waves: int) -> None:
        super().__init__()
        self.count, self.waves = count, waves
        self.task_embedding = nn.Parameter(torch.empty(count, width))
        self.transformer_layes = nn.ModuleList([MixerBlock(width) for _ in range(blocks)])
        self.spatial_ch_projs = nn.Linear(width, width)
        self.control_add_embedding = TimestepEmbedding(waves * count, time)

    def shift(self, hint: Tensor, kind: int, weight: float = 1.0) -> Tensor:
        """The shift [1, C, 1, 1] that is added to a hint [1, C, h, w] of type number `kind`."""
        token = weight * (hint.mean((2, 3)) + self.task_embedding[kind])
        x = token[None]
        for block in self.transformer_layes:
            x = block(x)
        found: Tensor = self.spatial_ch_projs(x[0])
        return found[:, :, None, None]

    def kinds(self, numbers: Sequence[int]) -> Tensor:
        """The addition [1, E] to the time embedding for maps of these types."""
        like = self.task_embedding
        given = torch.zeros(self.count, device=like.device)
        given[list(numbers)] = 1.0
        spread = Timesteps(self.waves, True, 0)(given)
        found: Tensor = self.control_add_embedding(spread.reshape(1, -1).to(like))
        return found


def union_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a Union's tensors into those of the mixer and those of a plain ControlNet."""
    own = {key: value for key, value in tensors.items() if _OWN.match(key)}
    return own, {key: value for key, value in tensors.items() if key not in own}


def load_mixer(tensors: Mapping[str, Tensor], network: Any, path: Path, target: Target) -> UnionMixer:
    """The mixer for a Union's tensors and network. Raises ModelError."""
    types, added = tensors.get("task_embedding"), tensors.get("control_add_embedding.linear_1.weight")
    blocks = len({key.split(".")[1] for key in tensors if key.startswith("transformer_layes.")})
    if types is None or added is None or not (types.ndim == added.ndim == 2 and len(types) and blocks):
        raise ModelError(f"'{path.stem}' is an incomplete ControlNet Union: type embeddings are missing")
    width, time = network.conv_in.out_channels, network.time_embedding.linear_2.out_features
    with torch.device("meta"):
        mixer = UnionMixer(len(types), width, time, blocks, added.shape[1] // len(types))
    fill(mixer, tensors, path.stem, target.placement.home, target.placement.dtype)
    return mixer
