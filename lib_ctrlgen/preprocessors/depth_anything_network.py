"""The network of Depth Anything: a DINOv2 encoder and a DPT head, with the published names of the weights.

Oquab et al. 2023, DINOv2; Ranftl et al. 2021, Vision Transformers for Dense Prediction; Yang et al. 2024,
Depth Anything, and Depth Anything V2. transformers has this network only from version 4.37 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Tensors

HEAD_WIDTH = 64  # channels of an attention head
EPSILON = 1e-6  # of the layer normalisation
OFFSET = 0.1  # patches that DINOv2 adds to each side when it resizes the position embedding
# The blocks whose results the head of version 2 gets, by the number of blocks; version 1 uses the last four.
SPREAD_BLOCKS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}
)
SCALES = (4, 2, 1)  # by which the first three features are enlarged; the fourth is halved


class Attention(nn.Module):
    """Multi-head self attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] in and out."""
        heads = self.qkv(x).unflatten(2, (3, -1, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads.unbind(0))
        found: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return found


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] in and out."""
        return x * self.gamma


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] in and out."""
        found: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return found


class Block(nn.Module):
    """A transformer block with layer scales."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, EPSILON) for _ in range(2))
        self.attn, self.mlp = Attention(width), Mlp(width, inner)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] in and out."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        found: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return found


class Encoder(nn.Module):
    """DINOv2's vision transformer; `shapes` are those of its tensors."""

    def __init__(self, shapes: Mapping[str, torch.Size], taken: Sequence[int]) -> None:
        super().__init__()
        patch, width = shapes["patch_embed.proj.weight"], shapes["cls_token"][2]
        count = 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("blocks."))
        self.taken = taken or range(count - 4, count)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(shapes["pos_embed"]))
        if "mask_token" in shapes:
            self.mask_token = nn.Parameter(torch.zeros(1, width))  # of the training alone
        self.patch_embed = nn.Sequential()
        self.patch_embed.add_module("proj", nn.Conv2d(patch[1], width, patch[2], patch[2]))
        inner = shapes["blocks.0.mlp.fc1.weight"][0]
        self.blocks = nn.ModuleList(Block(width, inner) for _ in range(count))
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The features [B, C, h, w] of four blocks, of a picture [B, 3, H, W]."""
        patches = self.patch_embed(x)
        size = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        tokens = tokens + self.positions(size)
        found = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taken:
                found.append(self.norm(tokens)[:, 1:].transpose(1, 2).reshape(len(x), -1, *size))
        return found

    def positions(self, size: Sequence[int]) -> Tensor:
        """The position embedding [1, 1 + h w, C] for a grid of patches."""
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        side = round(rest.shape[1] ** 0.5)
        if tuple(size) == (side, side):
            return self.pos_embed
        square = rest.transpose(1, 2).reshape(1, -1, side, side)
        scale = tuple((length + OFFSET) / side for length in size)
        resized = functional.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat([first, resized.flatten(2).transpose(1, 2)], 1)


class Residual(nn.Module):
    """Two convolutions, each after a ReLU, and their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        found: Tensor = x + self.conv2(functional.relu(self.conv1(functional.relu(x))))
        return found


class Fusion(nn.Module):
    """Adds a finer feature to the fused coarser ones, and enlarges the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = Residual(width), Residual(width)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, coarse: Tensor | None, fine: Tensor, size: Sequence[int]) -> Tensor:
        """[B, C, h, w] and [B, C, h, w] to [B, C, *size]."""
        joined = fine if coarse is None else coarse + self.resConfUnit1(fine)
        found: Tensor = self.out_conv(_resized(self.resConfUnit2(joined), size))
        return found


class Head(nn.Module):
    """DPT's head; `shapes` are those of its tensors."""

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        outs = [shapes[f"projects.{place}.weight"] for place in range(4)]
        width, middle = shapes["scratch.output_conv1.weight"][1], shapes["scratch.output_conv1.weight"][0]
        self.projects = nn.ModuleList(nn.Conv2d(cin, out, 1) for out, cin, *_ in outs)
        larger = [
            nn.ConvTranspose2d(outs[place][0], outs[place][0], scale, scale)
            for place, scale in enumerate(SCALES[:2])
        ]
        smaller = nn.Conv2d(outs[3][0], outs[3][0], 3, 2, 1)
        self.resize_layers = nn.ModuleList([*larger, nn.Identity(), smaller])
        last = shapes["scratch.output_conv2.0.weight"][0]
        parts: dict[str, nn.Module] = {
            **{f"layer{i + 1}_rn": nn.Conv2d(outs[i][0], width, 3, 1, 1, bias=False) for i in range(4)},
            **{f"refinenet{i + 1}": Fusion(width) for i in range(4)},
            "output_conv1": nn.Conv2d(width, middle, 3, padding=1),
            "output_conv2": nn.Sequential(
                nn.Conv2d(middle, last, 3, padding=1), nn.ReLU(), nn.Conv2d(last, 1, 1), nn.ReLU()
            ),
        }
        self.scratch = nn.ModuleDict(parts)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The inverse depth [B, 1, *size] of four features [B, C, h, w], the first block's first."""
        made = [
            self.scratch[f"layer{place + 1}_rn"](self.resize_layers[place](self.projects[place](each)))
            for place, each in enumerate(features)
        ]
        sizes: list[Any] = [[2 * side for side in made[0].shape[2:]], *(each.shape[2:] for each in made[:3])]
        fused: Tensor | None = None
        for place in (3, 2, 1, 0):
            fused = self.scratch[f"refinenet{place + 1}"](fused, made[place], sizes[place])
        found: Tensor = self.scratch["output_conv2"](_resized(self.scratch["output_conv1"](fused), size))
        return found


class DepthAnythingNetwork(nn.Module):
    """The encoder and the head, of the widths and depth of a file's tensors."""

    def __init__(self, tensors: Tensors, taken: Sequence[int]) -> None:
        super().__init__()
        self.pretrained = Encoder(_shapes(tensors, "pretrained."), taken)
        self.depth_head = Head(_shapes(tensors, "depth_head."))

    def forward(self, x: Tensor) -> Tensor:
        """The inverse depth [B, 1, H, W], of no unit, of pictures [B, 3, H, W] normalised as ImageNet."""
        found: Tensor = self.depth_head(self.pretrained(x), x.shape[2:])
        return found


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def _shapes(tensors: Tensors, prefix: str) -> dict[str, torch.Size]:
    return {key.removeprefix(prefix): each.shape for key, each in tensors.items() if key.startswith(prefix)}


def first_version(tensors: Tensors) -> nn.Module:
    """The network of Depth Anything. Raises KeyError for tensors of another network."""
    return DepthAnythingNetwork(tensors, ())


def second_version(tensors: Tensors) -> nn.Module:
    """The network of Depth Anything V2. Raises KeyError for tensors of another network."""
    blocks = {key.split(".")[2] for key in tensors if key.startswith("pretrained.blocks.")}
    return DepthAnythingNetwork(tensors, SPREAD_BLOCKS.get(len(blocks), ()))
