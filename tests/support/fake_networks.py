"""A tiny U-Net with ldm's module names, and a VAE, for the tests of the WebUI."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """As much of ldm's cross attention as its shape is read from."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.heads = 2
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))


class Block(nn.Module):
    """One ldm block: a convolution, maybe with a cross attention beside it."""

    def __init__(self, cin: int, cout: int, context: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, padding=1)
        if context is not None:
            self.attn2 = CrossAttention(cout, context)

    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(self.conv(h))


class TinyUNet(nn.Module):
    """Encoder of two blocks, middle block, decoder of two, wired like ldm's UNetModel."""

    def __init__(self, width: int = 4, context: int = 8) -> None:
        super().__init__()
        self.in_channels = 4
        self.input_blocks = nn.ModuleList([Block(4, width), Block(width, width, context)])
        self.middle_block = nn.Sequential(Block(width, width, context))
        self.middle_block[0].out_channels = width
        for block in self.input_blocks:
            block.conv.out_channels = width
        self.output_blocks = nn.ModuleList([Block(2 * width, width, context), Block(2 * width, 4)])

    def forward(self, x: Tensor, *_others: Tensor) -> Tensor:
        skips = []
        h = x
        for block in self.input_blocks:
            h = block(h)
            skips.append(h)
        h = self.middle_block(h)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], 1))
        return h


class FakeVAE(nn.Module):
    """An encoder of means and log variances, whose distribution is drawn from as sgm's is."""

    def __init__(self) -> None:
        super().__init__()
        self.quant_conv = nn.Conv2d(3, 8, 1)
        self.calls = 0

    def draw(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        mean, spread = self.quant_conv(nn.functional.avg_pool2d(pixels, 8)).chunk(2, 1)
        return mean + spread * torch.randn(mean.shape)


class DecodedSamples(list[Tensor]):
    """Pictures in the place of latents."""

    already_decoded = True


def decode_latent_batch(model: Any, latents: Tensor, **_options: Any) -> DecodedSamples:
    grown = nn.functional.interpolate(latents[:, :3], scale_factor=8.0)
    return DecodedSamples(torch.tanh(each.detach()) for each in grown)


class ImageRNG:
    """Noise by seed."""

    def __init__(self, shape: tuple[int, ...], seeds: list[int]) -> None:
        self.shape, self.seeds = shape, seeds

    def next(self) -> Tensor:
        made = [torch.randn(self.shape, generator=torch.Generator().manual_seed(s)) for s in self.seeds]
        return torch.stack(made)
