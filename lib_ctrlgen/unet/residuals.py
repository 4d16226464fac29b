"""ControlNet residuals, the tensors that are added to the U-Net's skip connections and mid block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import HostError

from .call import row_index
from .row_factors import Factor, times

# How masks are resized; sd-webui-controlnet does it bilinearly, without averaging.
MaskFit: TypeAlias = Literal["area", "bilinear"]

SOFTNESS = 0.825
FEATURE_SOFTNESS = (0.25, 0.62, 0.825, 1.0)


@dataclass(frozen=True)
class Residuals:
    """One tensor per encoder output, in the encoder's order, and one for the mid block.

    down: tuple of [B, C_k, h_k, w_k], added to the skips; mid: [B, C, h, w].
    """

    down: tuple[Tensor, ...]
    mid: Tensor

    @staticmethod
    def only(layers: Mapping[int, Tensor], sizes: Sequence[tuple[int, int, int]]) -> Residuals:
        """Return residuals [B, C, h, w] for some layers, and zeros for all others.

        The keys of `layers` are layer numbers, the mid block's the last. `sizes` comes from
        `UNetShape.residual_sizes`. Raises HostError for a tensor of another size, and if `layers` is empty.
        """
        if not layers:
            raise HostError("residuals of no layer: give at least one")
        like = next(iter(layers.values()))
        found = Residuals._of(
            [
                layers[number] if number in layers else like.new_zeros((len(like), *size))
                for number, size in enumerate(sizes)
            ]
        )
        found.require(len(like), sizes)
        return found

    def require(self, rows: int, sizes: Sequence[tuple[int, int, int]]) -> None:
        """Raise HostError unless there is one residual [rows, C, h, w] for each (C, h, w) of `sizes`.

        Without this check torch would broadcast a residual of size 1 x 1 over the whole latent.
        """
        found = [tuple(layer.shape) for layer in self.layers]
        wanted = [(rows, *size) for size in sizes]
        if len(found) != len(wanted):
            raise HostError(f"{len(found)} residuals for a U-Net that takes {len(wanted)}")
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if one != other:
                raise HostError(f"residual {number} is {list(one)}, and the U-Net takes {list(other)} there")

    @property
    def layers(self) -> tuple[Tensor, ...]:
        """All residuals, the mid block's last."""
        return (*self.down, self.mid)

    def scaled(self, weights: Sequence[Factor]) -> Residuals:
        """Return each layer times its factor (a number, or one per row); the last is the mid block's."""
        return self._of([times(*pair) for pair in zip(self.layers, weights, strict=True)])

    def select(self, rows: Sequence[int]) -> Residuals:
        """Return these rows, in this order; a row may occur more than once."""
        index = row_index(rows)
        return self._of([layer[index] for layer in self.layers])

    def to(self, like: Tensor) -> Residuals:
        """Return the residuals on the device and in the dtype of `like`."""
        return self._of([layer.to(like) for layer in self.layers])

    def masked(self, mask: Tensor, fit: MaskFit = "area") -> Residuals:
        """Return each layer times a soft mask [1 or B, 1, H, W] in 0..1, resized to it."""
        return self._of([layer * fit_mask(mask, layer, fit) for layer in self.layers])

    def __add__(self, other: Residuals) -> Residuals:
        return self._of([a + b for a, b in zip(self.layers, other.layers, strict=True)])

    def scatter(self, rows: Sequence[int], batch: int) -> Residuals:
        """Return residuals for `batch` rows: row `i` becomes row `rows[i]`, the others are zero."""
        return self._of([scatter_rows(layer, rows, batch) for layer in self.layers])

    @staticmethod
    def _of(layers: Sequence[Tensor]) -> Residuals:
        return Residuals(tuple(layers[:-1]), layers[-1])


def soft_weights(layers: int) -> tuple[float, ...]:
    """Return 0.825^(layers - 1 - k) for each layer k, which is 1 for the mid block.

    On the 13 layers of SD1.5 it is sd-webui-controlnet's "My prompt is more important".
    """
    return tuple(SOFTNESS ** (layers - 1 - index) for index in range(layers))


def controlnet_soft_weights(layers: int) -> tuple[float, ...]:
    """Return the soft weights of sd-webui-controlnet, which on SDXL are the first ten of SD1.5's thirteen.

    >>> round(controlnet_soft_weights(10)[-1], 3)
    0.562
    """
    return soft_weights(13)[:layers]


def soft_features(levels: int) -> tuple[float, ...]:
    """Return the factor of each level: 0.25, 0.62, 0.825 and 1 for four levels, the finest first.

    Fewer levels get the last of these numbers, more levels 0.25 for the finest. The numbers are those of
    sd-webui-controlnet's "My prompt is more important" for T2I-Adapters.

    >>> soft_features(3)
    (0.62, 0.825, 1.0)
    """
    finer = levels - len(FEATURE_SOFTNESS)
    return (FEATURE_SOFTNESS[0],) * finer + FEATURE_SOFTNESS[max(0, -finer) :]


def fit_mask(mask: Tensor, layer: Tensor, fit: MaskFit = "area") -> Tensor:
    """Resize `mask` [B, 1, H, W] to `layer` [B, C, h, w], in its dtype and on its device."""
    small = functional.interpolate(mask.float(), size=layer.shape[-2:], mode=fit)
    return small.to(layer)


def scatter_rows(tensor: Tensor, rows: Sequence[int], batch: int) -> Tensor:
    """Return a batch of zeros in which `rows` are replaced by the rows of `tensor`."""
    spread = tensor.new_zeros((batch, *tensor.shape[1:]))
    spread[row_index(rows)] = tensor
    return spread


def total(parts: Sequence[Residuals]) -> Residuals:
    """Return the sum of one or more `Residuals`."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def joined(parts: Sequence[Residuals]) -> Residuals:
    """Concatenate the rows of several `Residuals`."""
    layers = [torch.cat(each) for each in zip(*(part.layers for part in parts), strict=True)]
    return Residuals(tuple(layers[:-1]), layers[-1])


def summed_features(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Sum several lists of features element by element; a shorter list counts as zero at its end."""
    return tuple(_sum([one for one in place if one is not None]) for place in zip_longest(*parts))


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    first, *others = tensors
    for other in others:
        first = first + other
    return first


def softened(mask: Tensor, strength: Factor) -> Tensor:
    """Return 1 - strength (1 - mask): the mask at strength 1, all white at 0. mask: [1 or B, 1, H, W]."""
    if isinstance(strength, Tensor):
        return 1 - strength.to(mask).reshape(-1, 1, 1, 1) * (1 - mask)
    return mask if strength == 1.0 else 1 - strength * (1 - mask)
