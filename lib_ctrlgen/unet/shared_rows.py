"""Rows of a batch that are the same: computed once, and handed out to each.

A sampler's rows stay equal as long as nothing told them apart, so cells of a grid that agree for the first
steps share these steps, with any sampler: rows are compared as they are, not as they should be.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .call import CallInputs, row_index


@dataclass(frozen=True)
class SharedRows:
    """`firsts` are the rows to compute; row `i` of the batch is number `inverse[i]` of them."""

    firsts: tuple[int, ...]
    inverse: tuple[int, ...]

    @staticmethod
    def of(keys: Sequence[Hashable]) -> SharedRows:
        """Rows with equal keys are the same row.

        >>> SharedRows.of("abac")
        SharedRows(firsts=(0, 1, 3), inverse=(0, 1, 0, 2))
        """
        numbers: dict[Hashable, int] = {}
        firsts = []
        for row, key in enumerate(keys):
            if key not in numbers:
                numbers[key] = len(numbers)
                firsts.append(row)
        return SharedRows(tuple(firsts), tuple(numbers[key] for key in keys))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return len(self.firsts) < len(self.inverse)

    def narrowed(self, value: Any) -> Any:
        """Only the rows to compute, of every tensor with a row per row of the batch in `value`."""
        return _rows_of(value, len(self.inverse), self.firsts)

    def spread(self, value: Any) -> Any:
        """The whole batch again."""
        return _rows_of(value, len(self.firsts), self.inverse)


def _rows_of(value: Any, batch: int, rows: Sequence[int]) -> Any:
    if isinstance(value, Tensor):
        return value[row_index(rows)] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, (tuple, list)):
        return type(value)([_rows_of(each, batch, rows) for each in value])
    if isinstance(value, dict):  # diffusers' outputs are dicts that take their fields by name
        return type(value)(**{key: _rows_of(each, batch, rows) for key, each in value.items()})
    return value


def row_classes(inputs: CallInputs) -> list[int]:
    """For each row of a U-Net's call the first row with exactly the same inputs."""
    parts = [inputs.x, inputs.timestep, inputs.context, *inputs.added.values()]
    count = int(inputs.x.shape[0])
    flat = [p.reshape(count, -1) for p in parts if isinstance(p, Tensor) and p.ndim and p.shape[0] == count]
    classes = [-1] * count
    for first in range(count):
        if classes[first] < 0:
            later = [row for row in range(first + 1, count) if classes[row] < 0]
            for row in (first, *_equal(flat, first, later)):
                classes[row] = first
    return classes


def _equal(parts: Sequence[Tensor], first: int, rows: list[int]) -> list[int]:
    """Those of `rows` that equal row `first` in every part."""
    for part in parts:
        if not rows:
            break
        same = torch.eq(part[row_index(rows)], part[first]).all(1).tolist()
        rows = [row for row, equal in zip(rows, same, strict=True) if equal]
    return rows
