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
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), keepdim=True, correction=0)
        return Moments(mean, variance)

    @staticmethod
    def of_tokens(x: Tensor) -> Moments:
        """Return the moments of each channel of x [B, N, C] over its tokens.

        The variance is unbiased; that of a single token is 0.
        """
        variance, mean = torch.var_mean(x.float(), dim=1, keepdim=True, correction=min(1, x.shape[1] - 1))
        return Moments(mean, variance)

    @staticmethod
    def of_groups(x: Tensor, groups: int) -> Moments:
        """Return the moments of each group of channels of x [B, C, ...], [B, groups, 1]; biased."""
        grouped = x.float().reshape(len(x), groups, -1)
        variance, mean = torch.var_mean(grouped, dim=2, keepdim=True, correction=0)
        return Moments(mean, variance)

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
    grouped = x.float().reshape(len(x), norm.num_groups, -1)
    inner = ((grouped - moments.mean) * (moments.variance + norm.eps).rsqrt()).reshape(x.shape)
    if not norm.affine:
        return inner
    shape = (1, -1, *[1] * (x.ndim - 2))
    return inner * norm.weight.float().reshape(shape) + norm.bias.float().reshape(shape)
