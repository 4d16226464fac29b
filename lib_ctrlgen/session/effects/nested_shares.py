"""Divides a result among sets of units that act together, from the share of each unit.

A unit's share s in 0..1 means that it takes part at thresholds t < s, where t goes from 0 to 1. The units
with a share above t act together, and the result is the mean over t. With one unit this is a blend of the
result without and with it; with shares of 1 it is the result of all units together; where masks do not
overlap, each unit acts alone inside its own.

>>> [(units, float(part)) for units, part in nested(torch.tensor([1.0, 0.25]))]
[((0,), 0.75), ((0, 1), 0.25)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Units that act together in some rows, and their part [R, ...] of the result there."""

    units: tuple[int, ...]
    rows: list[int]
    part: Tensor


def mixtures(
    units: Sequence[int], shares: Sequence[Sequence[float]], masks: Sequence[Tensor | None]
) -> list[Mixture]:
    """Return the sets of units that act together.

    For each of `units` there are the shares of its rows, B numbers, and its mask [1 or B, ...] or None.
    """
    some = [mask for mask in masks if mask is not None]
    around = [1] * (some[0].ndim - 1) if some else []
    device = some[0].device if some else None
    columns = [torch.tensor(own, device=device).reshape(-1, *around) for own in shares]
    parts = [column if mask is None else column * mask for column, mask in zip(columns, masks, strict=True)]
    if not parts:
        return []
    found = []
    for members, part in nested(_stacked(parts)):
        rows = (part.reshape(len(part), -1) > 0).any(1).nonzero().flatten().tolist()
        found.append(Mixture(units=tuple(units[i] for i in members), rows=rows, part=part[rows]))
    return found


def nested(shares: Tensor) -> list[tuple[tuple[int, ...], Tensor]]:
    """Return the sets of units that act together, each with its part of the result.

    `shares` [K, ...] are those of K units in 0..1. A part [...] is the length of the interval of thresholds:
    the least share in the set minus the greatest one outside it, at least 0. Sets without a part are left
    out; what the parts lack to 1 is the result without any unit.
    """
    units = range(len(shares))
    sets = [some for size in units for some in combinations(units, size + 1)]
    parts = [(some, _part(shares, some)) for some in sets]
    return [(some, part) for some, part in parts if bool((part > 0).any())]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Return the parts as one tensor [K, ...], each brought to the shape of all."""
    like = sum(parts)  # has that shape
    return torch.stack([part.expand_as(like) for part in parts]) if isinstance(like, Tensor) else parts[0]


def _part(shares: Tensor, some: tuple[int, ...]) -> Tensor:
    inside = shares[list(some)].amin(0)
    others = [unit for unit in range(len(shares)) if unit not in some]
    return (inside - shares[others].amax(0)).clamp(min=0) if others else inside


def spread(part: Tensor, like: Tensor) -> Tensor:
    """Return a part [R] or [R, ...] in a shape that multiplies `like` [R, ...], on its device, float32."""
    around = [1] * (like.ndim - part.ndim)
    return part.to(like.device, torch.float32).reshape(*part.shape, *around)
