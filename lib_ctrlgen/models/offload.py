"""Weights that are elsewhere or in another form between uses, and how they are brought for one.

A use is a network's call, for all units that share it, or the encoding of a picture. What is stored
is a few flat tensors, so that a use costs a few transfers and not one per layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError

from .storage import FORMS, Placement, spread

ALIGNED = 64  # numbers; every weight begins where kernels like it


class Weights(Protocol):
    """The weights of a group of modules."""

    @property
    def like(self) -> Tensor:
        """A tensor of the device and dtype in which they compute."""

    def present(self) -> AbstractContextManager[None]:
        """Inside, the modules can be called. A use inside of a use shares what was brought."""


@dataclass(frozen=True)
class Resident:
    """Weights that are always where and as they compute."""

    like: Tensor

    def present(self) -> AbstractContextManager[None]:
        """Nothing has to be done."""
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One weight: its owner, its place in the flat tensor of its dtype, and its scale's among the scales.

    `blank` stands in its place between uses, without memory.
    """

    owner: Any
    leaf: str
    blank: Tensor
    dtype: torch.dtype
    start: int
    scale: int | None

    def put(self, value: Tensor) -> None:
        """Make `value` the owner's."""
        held = self.owner._parameters if self.leaf in self.owner._parameters else self.owner._buffers
        held[self.leaf] = value

    def of(self, stored: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The weight as it computes; `stored` in its own dtype or in that of computing, flat."""
        value = stored[self.start : self.start + self.blank.numel()].view(self.blank.shape)
        if self.scale is None or scales is None:
            return value
        scale = scales[self.scale : self.scale + len(value)]
        return (value.float() * spread(scale, value)).to(dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Offloaded:
    """Weights in flat tensors, one per dtype. The modules have theirs during a use alone.

    Safe for threads: who comes while others use them shares what they brought.
    """

    like: Tensor
    flats: Mapping[torch.dtype, Tensor]
    scales: Tensor
    slots: tuple[Slot, ...]
    _users: list[None] = field(default_factory=list)
    _lock: Any = field(default_factory=RLock)

    @contextmanager
    def present(self) -> Iterator[None]:
        """Bring the weights unless they are there, and drop them after the last use."""
        with self._lock:
            if not self._users:
                self.bring()
            self._users.append(None)
        try:
            yield
        finally:
            with self._lock:
                self._users.pop()
                if not self._users:
                    self.drop()

    def bring(self) -> None:
        """Put every weight in its place, where and as it computes."""
        *flats, scales = transfer([*self.flats.values(), self.scales], self.like.device)
        scaled = {slot.dtype for slot in self.slots if slot.scale is not None}
        ready = {
            dtype: flat if dtype in scaled or not dtype.is_floating_point else flat.to(self.like.dtype)
            for dtype, flat in zip(self.flats, flats, strict=True)
        }
        for slot in self.slots:
            value = slot.of(ready[slot.dtype], scales, self.like.dtype)
            parameter = isinstance(slot.blank, nn.Parameter)
            slot.put(nn.Parameter(value, requires_grad=False) if parameter else value)

    def drop(self) -> None:
        """Leave shapes alone."""
        for slot in self.slots:
            slot.put(slot.blank)


def transfer(flats: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """All tensors on a device. Every weight that is brought goes through here, once per use."""
    return [flat.to(device, non_blocking=True) for flat in flats]


def placed(modules: Sequence[nn.Module | None], placement: Placement, name: str) -> Weights:
    """The weights of modules that were loaded at the placement's home, in its dtype, put as it says.

    What is on the meta device, so no one's or another's, stays out. Raises ModelError for weights that
    the form cannot hold.
    """
    if placement.resident:
        return Resident(placement.like)
    shelf = OffloadBuilder(placement, name)
    for module in modules:
        for owner in module.modules() if module is not None else ():
            for held in (owner._parameters, owner._buffers):
                for leaf, value in held.items():
                    if value is not None and not value.is_meta:
                        shelf.add(owner, leaf, value)
    return shelf.parked()


@dataclass
class OffloadBuilder:
    """Weights while they are gathered."""

    placement: Placement
    name: str
    slots: list[Slot] = field(default_factory=list)
    stored: dict[torch.dtype, list[Tensor]] = field(default_factory=dict)
    scales: list[Tensor] = field(default_factory=list)
    ends: dict[torch.dtype, int] = field(default_factory=dict)
    scaled: int = 0

    def add(self, owner: nn.Module, leaf: str, value: Tensor) -> None:
        """Take one weight; norms' and biases' numbers are few, and stay as they are."""
        kept, scale = value, None
        if value.is_floating_point() and value.ndim > 1 and self.placement.storage != "auto":
            kept, scale = FORMS[self.placement.storage](value.float())
            self.require(kept)
        same = self.stored.setdefault(kept.dtype, [])
        slot = Slot(
            owner=owner,
            leaf=leaf,
            blank=blank(value),
            dtype=kept.dtype,
            start=self.ends.get(kept.dtype, 0),
            scale=None if scale is None else self.scaled,
        )
        self.slots.append(slot)
        same.append(padded(kept.flatten()))
        self.ends[kept.dtype] = slot.start + len(same[-1])
        if scale is not None:
            self.scales.append(scale)
            self.scaled += len(scale)

    def require(self, kept: Tensor) -> None:
        """Raise ModelError where numbers became too large for a form."""
        if kept.dtype == torch.float16 and not bool(kept.isfinite().all()):
            raise ModelError(f"'{self.name}' has weights that are too large for fp16: store it as bf16")

    def parked(self) -> Offloaded:
        """All of them, and nothing in the modules."""
        scales = torch.cat(self.scales) if self.scales else torch.empty(0)
        found = Offloaded(
            like=self.placement.like,
            flats={dtype: self.flat(parts) for dtype, parts in self.stored.items()},
            scales=self.flat([scales]),
            slots=tuple(self.slots),
        )
        found.drop()
        return found

    def flat(self, parts: Sequence[Tensor]) -> Tensor:
        """Tensors as one at home, pinned where it is to go to a GPU."""
        dtype = parts[0].dtype
        found = torch.cat([part.view(torch.uint8) for part in parts]).to(self.placement.home)
        if self.placement.away and self.placement.device.type == "cuda":
            found = found.pin_memory()
        return found.view(dtype)


def padded(flat: Tensor) -> Tensor:
    """The same with zeros up to a whole number of `ALIGNED`. As bytes: some dtypes can do little else."""
    size = flat.element_size()
    over = -len(flat) % ALIGNED * size
    return torch.cat((flat.view(torch.uint8), flat.new_zeros(1, dtype=torch.uint8).expand(over))).view(
        flat.dtype
    )


def blank(value: Tensor) -> Tensor:
    """The same without memory."""
    empty = torch.empty(value.shape, dtype=value.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty
