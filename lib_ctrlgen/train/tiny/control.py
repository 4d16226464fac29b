"""Control maps for the ControlNets, and the initial weights of their hint layers (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor
from torch.nn import functional

from .data import training_scene
from .scenes import Image, draw

NO_CAPTION = 0.3

HintMaker = Callable[[Image, Image], Image]


def edge_hint(picture: Image, _depth: Image) -> Image:
    """The canny edges (100/200) of a picture at its own size, white on black [H, W]."""
    return np.asarray(cv2.Canny(picture, 100, 200), np.uint8)


def depth_hint(_picture: Image, depth: Image) -> Image:
    """The depth map [H, W]; nearer is brighter."""
    return depth


HINTS: Mapping[str, HintMaker] = MappingProxyType({"edges": edge_hint, "depth": depth_hint})


def hint_tensor(hints: list[Image]) -> Tensor:
    """Control maps [B][H, W] as hints [B, 3, H, W] in 0..1."""
    stacked = torch.from_numpy(np.stack(hints)).float() / 255
    return stacked[:, None].repeat(1, 3, 1, 1)


@torch.no_grad()
def scale_hint_layers(control: ControlNetModel, make_hint: HintMaker) -> None:
    """Scale the hint convolutions so that the output of each has standard deviation 1 on real hints.

    Layer-sequential unit variance (arXiv 1511.06422). With the usual initial weights, the last of which are
    zero, thin lines vanish over eight layers, and the network learns nothing in hundreds of steps.
    """
    embedding = control.controlnet_cond_embedding
    scenes = [training_scene(np.random.default_rng(k)) for k in range(16)]
    values = hint_tensor([make_hint(*draw(scene, 128)) for scene in scenes])
    torch.nn.init.orthogonal_(embedding.conv_out.weight)
    for layer in (embedding.conv_in, *embedding.blocks, embedding.conv_out):
        layer.bias.zero_()
        layer.weight /= layer(values).std()
        values = functional.silu(layer(values))
    embedding.conv_out.weight *= 0.5


def freeze_hint_layers(control: ControlNetModel) -> None:
    """Freeze the hint layers at full and half size.

    They only detect lines and planes, and computing their gradients would take as long as the U-Net's.
    """
    embedding = control.controlnet_cond_embedding
    for layer in (embedding.conv_in, *embedding.blocks[:4]):
        layer.requires_grad_(False)
