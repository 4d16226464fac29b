"""Sizes that are read from the tensors of an IP-Adapter file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

Tensors: TypeAlias = Mapping[str, Tensor]

HEAD_WIDTH = 64  # channels of an attention head in every published resampler


def rows_of(tensors: Tensors, key: str) -> int:
    """The first dimension of a tensor. Raises KeyError where it is missing, IndexError for a scalar."""
    return int(tensors[key].shape[0])


def width_of(tensors: Tensors, key: str) -> int:
    """The last dimension of a tensor. Raises KeyError where it is missing, IndexError for a scalar."""
    return int(tensors[key].shape[-1])


def layer_count(tensors: Tensors, prefix: str) -> int:
    """How many different names stand behind `prefix` in the tensors' keys, up to the next dot."""
    return len({key.removeprefix(prefix).split(".")[0] for key in tensors if key.startswith(prefix)})


def under(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with `prefix`, under their keys without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
