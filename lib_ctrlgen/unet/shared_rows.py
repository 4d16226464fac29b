"""Finds equal rows of a batch, so that the U-Net computes them once and the output is copied to each.

Cells of a grid that have the same weights in the first steps have equal rows there, and share the
computation of these steps. The rows' actual inputs are compared, so this holds for any sampler.
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
    """`firsts` are the rows to compute; row `i` of the batch gets the output of `firsts[inverse[i]]`."""

    firsts: tuple[int, ...]
    inverse: tuple[int, ...]

    @staticmethod
    def of(keys: Sequence[Hashable]) -> SharedRows:
        """Return the sharing of rows whose keys are equal.

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
        """Whether any row is equal to an earlier one."""
        return len(self.firsts) < len(self.inverse)

    def narrowed(self, value: Any) -> Any:
        """Reduce every tensor in `value` whose first dimension is the batch to the rows to compute."""
        return _rows_of(value, len(self.inverse), self.firsts)

    def spread(self, value: Any) -> Any:
        """Expand every tensor in `value` from the rows that were computed to the whole batch."""
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
    """Return for each row of a U-Net call the index of the first row with exactly the same inputs."""
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
    """Return those of `rows` that equal row `first` in every tensor of `parts`."""
    for part in parts:
        if not rows:
            break
        same = torch.eq(part[row_index(rows)], part[first]).all(1).tolist()
        rows = [row for row, equal in zip(rows, same, strict=True) if equal]
    return rows
