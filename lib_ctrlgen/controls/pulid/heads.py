"""The heads of PuLID, which make tokens of a face's embedding and of five feature maps of its picture.

Guo et al. 2024, PuLID (pulid/encoders.py of version 1, pulid/encoders_transformer.py of version 1.1). Modules
have the names of the published tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.ip_adapter.heads import whole_tokens
from lib_ctrlgen.controls.ip_adapter.resampler import ResamplerLayers
from lib_ctrlgen.controls.ip_adapter.shapes import Tensors, rows_of, width_of

MAPS = 5  # feature maps of the vision encoder
MAPPING = "id_embedding_mapping"


def three_layers(tensors: Tensors, name: str) -> nn.Sequential:
    """Three linear layers, with layer norm and leaky ReLU behind the first two."""
    first, second, third = (f"{name}.{place}.weight" for place in (0, 3, 6))
    inner, wide, out = rows_of(tensors, first), rows_of(tensors, second), rows_of(tensors, third)
    return nn.Sequential(
        nn.Linear(width_of(tensors, first), inner),
        nn.LayerNorm(inner),
        nn.LeakyReLU(),
        nn.Linear(inner, wide),
        nn.LayerNorm(wide),
        nn.LeakyReLU(),
        nn.Linear(wide, out),
    )


class IDEncoder(nn.Module):
    """Version 1: tokens of the identity, then one token of each feature map."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.width = rows_of(tensors, "mapping_0.6.weight")
        self.tokens = whole_tokens(rows_of(tensors, "body.6.weight"), self.width)
        self.body = three_layers(tensors, "body")
        for i in range(MAPS):
            for name in (f"mapping_{i}", f"mapping_patch_{i}"):
                self.add_module(name, three_layers(tensors, name))

    def forward(self, identity: Tensor, *maps: Tensor) -> Tensor:
        """Identities [B, 1280] and five maps [B, 1 + P, 1024], the class token first, to tokens [B, T, X]."""
        found = [self.body(identity).unflatten(-1, (self.tokens, self.width))]
        for i, seen in enumerate(maps):
            whole = self.get_submodule(f"mapping_{i}")(seen[:, :1])
            patches = self.get_submodule(f"mapping_patch_{i}")(seen[:, 1:])
            found.append(whole + patches.mean(dim=1, keepdim=True))
        return torch.cat(found, dim=1)


class IDFormer(nn.Module):
    """Version 1.1: queries and identity tokens that attend to one feature map after the other."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width = width_of(tensors, "latents")
        self.latents = nn.Parameter(torch.empty(tensors["latents"].shape))
        self.proj_out = nn.Parameter(torch.empty(tensors["proj_out"].shape))
        self.tokens = whole_tokens(rows_of(tensors, f"{MAPPING}.6.weight"), width)
        self.layers = ResamplerLayers.like(tensors, width)
        self.id_embedding_mapping = three_layers(tensors, MAPPING)
        for i in range(MAPS):
            self.add_module(f"mapping_{i}", three_layers(tensors, f"mapping_{i}"))

    def forward(self, identity: Tensor, *maps: Tensor) -> Tensor:
        """Identities [B, 1280] and five maps [B, 1 + P, 1024] to tokens [B, T, X]."""
        own = self.id_embedding_mapping(identity).unflatten(-1, (self.tokens, -1))
        latents = torch.cat((self.latents.expand(len(own), -1, -1), own), dim=1)
        depth = len(self.layers) // MAPS
        for i, seen in enumerate(maps):
            context = torch.cat((own, self.get_submodule(f"mapping_{i}")(seen)), dim=1)
            latents = self.layers.part(slice(i * depth, (i + 1) * depth), context, latents)
        return latents[:, : self.latents.shape[1]] @ self.proj_out


def pulid_head(tensors: Tensors) -> IDEncoder | IDFormer:
    """The head of a file's tensors. Raises KeyError, IndexError or ValueError where one is missing."""
    return IDFormer(tensors) if "latents" in tensors else IDEncoder(tensors)
