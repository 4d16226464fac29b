"""The network of `anime_face_segment`, a U-Net on MobileNetV2, in the layout of UNet.pth.

The encoder is MobileNetV2 (Sandler et al. 2018) up to its stage of 160 channels. The decoder enlarges,
normalises each channel and joins the encoder's features (Ronneberger et al. 2015; Ulyanov et al. 2016).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Tensors

CLASSES = 7
SLOPE = 0.1  # of the leaky ReLU


class Stage(NamedTuple):
    """Blocks of one width in MobileNetV2: how much wider they are inside, their width, number and stride."""

    expansion: int
    width: int
    blocks: int
    stride: int


STEM = 32  # channels of the first convolution
STAGES = (
    (Stage(1, 16, 1, 1),),
    (Stage(6, 24, 2, 2),),
    (Stage(6, 32, 3, 2),),
    (Stage(6, 64, 4, 2), Stage(6, 96, 3, 1)),
    (Stage(6, 160, 3, 2),),
)  # of the levels of the U-Net
WIDTHS = tuple(level[-1].width for level in STAGES)


def convolution(cin: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution, batch normalisation and ReLU up to 6."""
    return nn.Sequential(
        nn.Conv2d(cin, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """A block of MobileNetV2: wider by a 1x1 convolution, a convolution of each channel, narrow again."""

    def __init__(self, cin: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = cin * expansion
        widening = [convolution(cin, inner, 1)] if expansion > 1 else []
        self.adds = stride == 1 and cin == out
        self.conv = nn.Sequential(
            *widening,
            convolution(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        found: Tensor = self.conv(x)
        return x + found if self.adds else found


def encoder_level(cin: int, stages: tuple[Stage, ...]) -> list[nn.Module]:
    """The blocks of a level of the U-Net."""
    found: list[nn.Module] = []
    for stage in stages:
        for number in range(stage.blocks):
            stride = 1 if number else stage.stride
            found.append(InvertedResidual(cin, stage.width, stride, stage.expansion))
            cin = stage.width
    return found


def decoder_level(cin: int, out: int) -> nn.Sequential:
    """Doubles the size; the published file's layout has a dropout at the end, which is left out here."""
    return nn.Sequential(
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Conv2d(cin, out, 3, padding=1),
        nn.InstanceNorm2d(out),
        nn.LeakyReLU(SLOPE),
    )


class AnimeFaceNet(nn.Module):
    """The U-Net of five levels."""

    def __init__(self) -> None:
        super().__init__()
        for level, stages in enumerate(STAGES):
            first = [] if level else [convolution(3, STEM, 3, 2)]
            blocks = encoder_level(WIDTHS[level - 1] if level else STEM, stages)
            self.add_module(f"en_block{level}", nn.Sequential(*first, *blocks))
        for level in range(1, len(STAGES)):
            joined = 1 if level == len(STAGES) - 1 else 2  # the lowest level has nothing below it to join
            self.add_module(f"de_block{level}", decoder_level(joined * WIDTHS[level], WIDTHS[level - 1]))
        self.de_block0 = nn.Sequential(
            nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(2 * WIDTHS[0], CLASSES, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The probabilities of the classes [1, 7, H, W] of a picture [1, 3, H, W] in 0..1, of even sides."""
        features: list[Tensor] = []
        for level in range(len(STAGES)):
            x = self.get_submodule(f"en_block{level}")(x)
            features.append(x)
        for level in range(len(STAGES) - 1, 0, -1):
            skip = features[level - 1]
            x = self.get_submodule(f"de_block{level}")(x)
            size = skip.shape[2:]
            x = functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
            x = torch.cat((x, skip), 1)
        found: Tensor = self.de_block0(x).softmax(1)
        return found


def anime_face_network(tensors: Tensors) -> nn.Module:
    """The network; all of its published files have the same shape."""
    del tensors
    return AnimeFaceNet()
