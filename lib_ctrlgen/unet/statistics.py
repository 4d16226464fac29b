"""Means and variances of activations, and adaptive instance normalisation (AdaIN), which moves them.

Huang and Belongie 2017, Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

BLOCK_FLOOR = 1e-6  # the least variance of a block's channel, as in sd-webui-controlnet
TOKEN_EPSILON = 1e-5  # added to the variance of tokens, as in google/style-aligned


class Moments(NamedTuple):
    """Mean and variance, float32, with the dimensions that they were taken over kept at size 1."""

    mean: Tensor
    variance: Tensor

    @staticmethod
    def of_pixels(x: Tensor) -> Moments:
        """Return the moments of each channel of x [B, C, H, W] over its pixels; the variance is biased."""
        found = Moments.of_groups(x, x.shape[1])
        return Moments(found.mean[..., None], found.variance[..., None])

    @staticmethod
    def of_tokens(x: Tensor) -> Moments:
        """Return the moments of each channel of x [B, N, C] over its tokens.

        The variance is unbiased; that of a single token is 0.
        """
        mean = x.float().mean(1, keepdim=True)
        apart = x.float() - mean
        return Moments(mean, (apart * apart).sum(1, keepdim=True) / max(1, x.shape[1] - 1))

    @staticmethod
    def of_groups(x: Tensor, groups: int) -> Moments:
        """Return the moments of each group of channels of x [B, C, ...], [B, groups, 1]; biased.

        They come from torch's group norm, as `torch.var_mean` takes ten times as long on a CPU.
        """
        flat = x.float().flatten(2).contiguous()  # torch 2.1 takes nothing else
        sizes = flat.shape[0], flat.shape[1], flat.shape[2]
        _, mean, inverse = torch.native_group_norm(flat, None, None, *sizes, groups, 0.0)
        return Moments(mean[..., None], (inverse * inverse).reciprocal()[..., None])

    def rows(self, index: Sequence[int]) -> Moments:
        """Return the moments of these rows."""
        return Moments(self.mean[list(index)], self.variance[list(index)])

    def joined(self, other: Moments) -> Moments:
        """Return the biased moments of two sets of equally many numbers together, from those of each."""
        mean = (self.mean + other.mean) / 2
        apart = (self.mean - other.mean) / 2
        return Moments(mean, (self.variance + other.variance) / 2 + apart * apart)


def average(moments: Sequence[Moments]) -> Moments:
    """Return the average of means and of variances."""
    means, variances = (torch.stack(list(each)).mean(0) for each in zip(*moments, strict=True))
    return Moments(means, variances)


def moved_pixels(x: Tensor, wanted: Moments) -> Tensor:
    """Return x [B, C, H, W] with the wanted mean and standard deviation in each channel, float32."""
    own = Moments.of_pixels(x)
    scale = (wanted.variance.clamp(min=BLOCK_FLOOR) / own.variance.clamp(min=BLOCK_FLOOR)).sqrt()
    return (x.float() - own.mean) * scale + wanted.mean


def moved_tokens(x: Tensor, wanted: Moments) -> Tensor:
    """Return x [B, N, C] with the wanted mean and standard deviation in each channel, in its dtype."""
    own = Moments.of_tokens(x)
    scale = ((wanted.variance + TOKEN_EPSILON) / (own.variance + TOKEN_EPSILON)).sqrt()
    return ((x.float() - own.mean) * scale + wanted.mean).to(x.dtype)


def normalised(x: Tensor, norm: nn.GroupNorm, moments: Moments) -> Tensor:
    """Return what a group norm gives for x [B, C, ...] with these moments [B, groups, 1], in float32."""
    channels = x.shape[1]
    scale = (moments.variance + norm.eps).rsqrt().expand(-1, -1, channels // norm.num_groups).flatten(1)
    shift = -moments.mean.expand(-1, -1, channels // norm.num_groups).flatten(1) * scale
    if norm.affine:
        weight = norm.weight.float()
        scale, shift = scale * weight, shift * weight + norm.bias.float()
    shape = (len(x), channels, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.reshape(shape), x.float(), scale.reshape(shape))
