"""BiSeNet as facexlib has it: which part of a face each pixel shows. PuLID keeps the face and drops the rest.

Yu et al. 2018, BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, on a ResNet-18.
Modules have the names of the published tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PARTS = 19
WIDTHS = (64, 128, 256, 512)


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return functional.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if inputs != outputs or stride != 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The backbone; its features at an eighth, a sixteenth and a thirty-second of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, width in enumerate(WIDTHS, 1):
            before, stride = WIDTHS[max(0, number - 2)], 1 if number == 1 else 2
            layer = nn.Sequential(BasicBlock(before, width, stride), BasicBlock(width, width, 1))
            self.add_module(f"layer{number}", layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """A normalised picture [B, 3, H, W] to three features."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        found = []
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            found.append(x)
        return found[1:]


class Refinement(nn.Module):
    """A convolution, its channels weighted by their means over the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        seen: Tensor = self.conv(x)
        weights: Tensor = self.bn_atten(self.conv_atten(seen.mean((2, 3), keepdim=True)))
        return seen * weights.sigmoid()


class ContextPath(nn.Module):
    """The backbone with the coarse features brought to the fine ones."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = Refinement(256, 128), Refinement(512, 128)
        self.conv_head32, self.conv_head16 = ConvNorm(128, 128), ConvNorm(128, 128)
        self.conv_avg = ConvNorm(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A normalised picture to features [B, 128, H / 8, W / 8], of the backbone and of the context."""
        fine, middle, coarse = self.resnet(x)
        context = self.arm32(coarse) + self.conv_avg(coarse.mean((2, 3), keepdim=True))
        context = self.conv_head32(functional.interpolate(context, middle.shape[2:]))
        context = functional.interpolate(self.arm16(middle) + context, fine.shape[2:])
        return fine, self.conv_head16(context)


class Fusion(nn.Module):
    """Both features together, with weights of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvNorm(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, fine: Tensor, context: Tensor) -> Tensor:
        """Two features [B, 128, h, w] to [B, 256, h, w]."""
        seen: Tensor = self.convblk(torch.cat((fine, context), dim=1))
        weights: Tensor = self.conv2(functional.relu(self.conv1(seen.mean((2, 3), keepdim=True))))
        return seen + seen * weights.sigmoid()


class Output(nn.Module):
    """The scores of the parts."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, inner)
        self.conv_out = nn.Conv2d(inner, PARTS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, 19, h, w]."""
        found: Tensor = self.conv_out(self.conv(x))
        return found


class FaceParser(nn.Module):
    """The network. The two other outputs were for training; a file has their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.cp, self.ffm = ContextPath(), Fusion()
        self.conv_out, self.conv_out16, self.conv_out32 = Output(256, 256), Output(128, 64), Output(128, 64)

    def forward(self, pixels: Tensor) -> Tensor:
        """A normalised picture [B, 3, H, W] to the number of the part at each pixel, [B, H, W]."""
        scores = self.conv_out(self.ffm(*self.cp(pixels)))
        large = functional.interpolate(scores, pixels.shape[2:], mode="bilinear", align_corners=True)
        return large.argmax(dim=1)
