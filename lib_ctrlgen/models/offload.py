"""Keeps a network's weights on the CPU, optionally quantised, and loads them to the device for each use.

A use is one forward pass of the network, for all units that share it, or the encoding of a picture. The
weights are stored in one flat tensor per dtype, so a use needs a few transfers instead of one per parameter.
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

ALIGNED = 64  # each weight begins at a multiple of this number of elements, for aligned reads


class Weights(Protocol):
    """The weights of a group of modules that are used together."""

    @property
    def like(self) -> Tensor:
        """An empty tensor with the device and dtype in which the modules compute."""

    def present(self) -> AbstractContextManager[None]:
        """A context in which the modules can be called. Nested contexts load the weights once."""


@dataclass(frozen=True)
class Resident:
    """Weights that always stay on the device, in the dtype in which they compute."""

    like: Tensor

    def present(self) -> AbstractContextManager[None]:
        """A context that does nothing."""
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where one weight is stored.

    owner   the module that has the weight as its parameter or buffer `leaf`
    blank   a tensor on the meta device that replaces the weight in the module between uses
    dtype   the dtype of the flat tensor that contains the weight, from element `start` on
    scale   the index of the first of its scales, one per output channel; None for a weight without scales
    """

    owner: Any
    leaf: str
    blank: Tensor
    dtype: torch.dtype
    start: int
    scale: int | None

    def put(self, value: Tensor) -> None:
        """Set the owner's parameter or buffer to `value`."""
        tensors = self.owner._parameters if self.leaf in self.owner._parameters else self.owner._buffers
        tensors[self.leaf] = value

    def decoded(self, stored: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The weight from a flat tensor, multiplied by its scales and cast to `dtype` if it has any."""
        value = stored[self.start : self.start + self.blank.numel()].view(self.blank.shape)
        if self.scale is None or scales is None:
            return value
        scale = scales[self.scale : self.scale + len(value)]
        return (value.float() * spread(scale, value)).to(dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Offloaded:
    """Weights in flat tensors, one per dtype. The modules have their weights only during a use.

    Thread-safe: uses by several threads at the same time share the loaded weights.
    """

    like: Tensor
    flats: Mapping[torch.dtype, Tensor]
    scales: Tensor
    slots: tuple[Slot, ...]
    _users: list[None] = field(default_factory=list)
    _lock: Any = field(default_factory=RLock)

    @contextmanager
    def present(self) -> Iterator[None]:
        """A context in which the weights are loaded; the outermost one loads and unloads them."""
        with self._lock:
            if not self._users:
                self.load()
            self._users.append(None)
        try:
            yield
        finally:
            with self._lock:
                self._users.pop()
                if not self._users:
                    self.unload()

    def load(self) -> None:
        """Set every module's weights, on the device and in the dtype in which they compute."""
        *flats, scales = transfer([*self.flats.values(), self.scales], self.like.device)
        scaled = {slot.dtype for slot in self.slots if slot.scale is not None}
        ready = {
            dtype: flat if dtype in scaled or not dtype.is_floating_point else flat.to(self.like.dtype)
            for dtype, flat in zip(self.flats, flats, strict=True)
        }
        for slot in self.slots:
            value = slot.decoded(ready[slot.dtype], scales, self.like.dtype)
            parameter = isinstance(slot.blank, nn.Parameter)
            slot.put(nn.Parameter(value, requires_grad=False) if parameter else value)

    def unload(self) -> None:
        """Replace every weight by a tensor of its shape on the meta device."""
        for slot in self.slots:
            slot.put(slot.blank)


def transfer(flats: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copy tensors to a device. It is called once per use, with all flat tensors."""
    return [flat.to(device, non_blocking=True) for flat in flats]


def placed(modules: Sequence[nn.Module | None], placement: Placement, name: str) -> Weights:
    """Store the weights of loaded modules in the placement's device and number format; None is skipped.

    The modules must be on `placement.home`, in `placement.dtype`. Tensors on the meta device, such as those
    that a ControlLoRA takes from the U-Net, are left out. `name` is the model's name for errors. Raises
    ModelError for weights that are too large for the storage format.
    """
    if placement.resident:
        return Resident(placement.like)
    builder = OffloadBuilder(placement, name)
    for module in modules:
        for owner in module.modules() if module is not None else ():
            for tensors in (owner._parameters, owner._buffers):
                for leaf, value in tensors.items():
                    if value is not None and not value.is_meta:
                        builder.add(owner, leaf, value)
    return builder.build()


@dataclass
class OffloadBuilder:
    """Collects the weights of modules into flat tensors."""

    placement: Placement
    name: str
    slots: list[Slot] = field(default_factory=list)
    stored: dict[torch.dtype, list[Tensor]] = field(default_factory=dict)
    scales: list[Tensor] = field(default_factory=list)
    ends: dict[torch.dtype, int] = field(default_factory=dict)
    scaled: int = 0

    def add(self, owner: nn.Module, leaf: str, value: Tensor) -> None:
        """Add one weight. Norms and biases (one dimension) keep their dtype, because they are small."""
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
        """Raise ModelError if a weight overflowed in fp16."""
        if kept.dtype == torch.float16 and not bool(kept.isfinite().all()):
            raise ModelError(f"'{self.name}' has weights that are too large for fp16: use the storage bf16")

    def build(self) -> Offloaded:
        """Store all weights that were added, and remove them from their modules."""
        scales = torch.cat(self.scales) if self.scales else torch.empty(0)
        found = Offloaded(
            like=self.placement.like,
            flats={dtype: self.flat(parts) for dtype, parts in self.stored.items()},
            scales=self.flat([scales]),
            slots=tuple(self.slots),
        )
        found.unload()
        return found

    def flat(self, parts: Sequence[Tensor]) -> Tensor:
        """Concatenate tensors of one dtype on `placement.home`, in pinned memory if they go to a GPU."""
        dtype = parts[0].dtype
        found = torch.cat([part.view(torch.uint8) for part in parts]).to(self.placement.home)
        if self.placement.away and self.placement.device.type == "cuda":
            found = found.pin_memory()
        return found.view(dtype)


def padded(flat: Tensor) -> Tensor:
    """Pad a flat tensor with zeros to a multiple of `ALIGNED` elements.

    It works on bytes, because torch cannot concatenate every dtype (fp8).
    """
    size = flat.element_size()
    over = -len(flat) % ALIGNED * size
    return torch.cat((flat.view(torch.uint8), flat.new_zeros(1, dtype=torch.uint8).expand(over))).view(
        flat.dtype
    )


def blank(value: Tensor) -> Tensor:
    """A tensor of the same shape and dtype on the meta device; a parameter stays a parameter."""
    empty = torch.empty(value.shape, dtype=value.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty


@contextmanager
def lent(network: nn.Module, device: torch.device) -> Iterator[None]:
    """A context in which a network's weights are on a device; afterwards they are where they were.

    Nothing is copied back: the weights must not change. For one user at a time.
    """
    homes: list[tuple[Any, str, Tensor]] = []
    copies: dict[int, Tensor] = {}
    for owner in network.modules():
        for tensors in (owner._parameters, owner._buffers):
            for leaf, value in tensors.items():
                if value is not None and not _on(value, device):
                    homes.append((tensors, leaf, value))
                    if id(value) not in copies:  # shared weights are copied once
                        copies[id(value)] = _copied(value, device)
    try:
        for tensors, leaf, value in homes:
            tensors[leaf] = copies[id(value)]
        yield
    finally:
        for tensors, leaf, value in homes:
            tensors[leaf] = value


def _on(value: Tensor, device: torch.device) -> bool:
    return value.device.type == device.type and device.index in {None, value.device.index}


def _copied(value: Tensor, device: torch.device) -> Tensor:
    """A copy on a device; a parameter stays a parameter."""
    moved = value.detach().to(device)
    return nn.Parameter(moved, requires_grad=False) if isinstance(value, nn.Parameter) else moved
