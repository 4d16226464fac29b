"""ControlNet residuals: what is added to the U-Net's skip connections and mid block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import HostError

from .call import row_index
from .row_factors import Factor, times

SOFTNESS = 0.825
FEATURE_SOFTNESS = (0.25, 0.62, 0.825, 1.0)


@dataclass(frozen=True)
class Residuals:
    """One tensor per encoder output, in the encoder's order, and one for the mid block.

    down: tuple of [B, C_k, h_k, w_k]; mid: [B, C, h, w].
    """

    down: tuple[Tensor, ...]
    mid: Tensor

    @staticmethod
    def only(layers: Mapping[int, Tensor], sizes: Sequence[tuple[int, int, int]]) -> Residuals:
        """Residuals of some layers, by their numbers (the mid block's is the last); the others are zero.

        `sizes` are those of `UNetShape.residual_sizes`; the tensors are [B, C, h, w]. Raises HostError for a
        tensor of another size, and for no tensor at all.
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
        """Raise HostError where these are not residuals of so many rows and of these (C, h, w) by layer.

        Without this, torch would broadcast a residual of one place over the whole picture.
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
        """Each layer times its own number, or its rows' own; one per layer, the mid block's last."""
        return self._of([times(*pair) for pair in zip(self.layers, weights, strict=True)])

    def select(self, rows: Sequence[int]) -> Residuals:
        """These rows, in this order; a row may be taken more than once."""
        index = row_index(rows)
        return self._of([layer[index] for layer in self.layers])

    def to(self, like: Tensor) -> Residuals:
        """The same on the device and in the dtype of `like`."""
        return self._of([layer.to(like) for layer in self.layers])

    def masked(self, mask: Tensor) -> Residuals:
        """Times a soft mask [1 or B, 1, H, W] in 0..1, resized to each layer by area."""
        return self._of([layer * fit_mask(mask, layer) for layer in self.layers])

    def __add__(self, other: Residuals) -> Residuals:
        return self._of([a + b for a, b in zip(self.layers, other.layers, strict=True)])

    def scatter(self, rows: Sequence[int], batch: int) -> Residuals:
        """Spread rows over a batch: row `i` goes to `rows[i]`, the others are zero."""
        return self._of([scatter_rows(layer, rows, batch) for layer in self.layers])

    @staticmethod
    def _of(layers: Sequence[Tensor]) -> Residuals:
        return Residuals(tuple(layers[:-1]), layers[-1])


def soft_weights(layers: int) -> tuple[float, ...]:
    """0.825^(12 - k) on SD1.5's 13 layers, 1 on the mid block, whatever the number of layers.

    sd-webui-controlnet's "My prompt is more important", counted from the mid block.
    """
    return tuple(SOFTNESS ** (layers - 1 - index) for index in range(layers))


def soft_features(levels: int) -> tuple[float, ...]:
    """0.25, 0.62, 0.825, 1 from the finest of four levels on, counted from the last one.

    sd-webui-controlnet's "My prompt is more important" for T2I-Adapters.

    >>> soft_features(3)
    (0.62, 0.825, 1.0)
    """
    finer = levels - len(FEATURE_SOFTNESS)
    return (FEATURE_SOFTNESS[0],) * finer + FEATURE_SOFTNESS[max(0, -finer) :]


def fit_mask(mask: Tensor, layer: Tensor) -> Tensor:
    """`mask` [B, 1, H, W] at the size, dtype and device of `layer` [B, C, h, w]."""
    small = functional.interpolate(mask.float(), size=layer.shape[-2:], mode="area")
    return small.to(layer)


def scatter_rows(tensor: Tensor, rows: Sequence[int], batch: int) -> Tensor:
    """A batch of zeros with `tensor`'s rows at `rows`."""
    spread = tensor.new_zeros((batch, *tensor.shape[1:]))
    spread[row_index(rows)] = tensor
    return spread


def total(parts: Sequence[Residuals]) -> Residuals:
    """The sum of at least one `Residuals`."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def joined(parts: Sequence[Residuals]) -> Residuals:
    """The rows of several, one after the other."""
    layers = [torch.cat(each) for each in zip(*(part.layers for part in parts), strict=True)]
    return Residuals(tuple(layers[:-1]), layers[-1])


def placewise(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """The sums of several lists of features, place by place; the lists may differ in length."""
    return tuple(_sum([one for one in place if one is not None]) for place in zip_longest(*parts))


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    first, *others = tensors
    for other in others:
        first = first + other
    return first


def softened(mask: Tensor, strength: Factor) -> Tensor:
    """A mask [1 or B, 1, H, W] in 0..1 that holds back by `strength` 0..1 only: 1 - strength (1 - mask)."""
    if isinstance(strength, Tensor):
        return 1 - strength.to(mask).reshape(-1, 1, 1, 1) * (1 - mask)
    return mask if strength == 1.0 else 1 - strength * (1 - mask)
