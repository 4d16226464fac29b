"""Adds gated self-attention between self and cross attention, for GLIGEN."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import GatedControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.attention import token_mask
from lib_ctrlgen.unet.call import UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import Factor

from .base import ActingUnit, Masks, Size, control_of


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one unit adds in one call: the rows it acts on, their kinds, and the weights of each block.

    `kinds` [R] is 1 for a conditional row, else 0.
    """

    unit: ActiveUnit
    rows: slice | list[int]
    kinds: Tensor
    weights: tuple[Factor, ...]
    mask: Tensor | None
    size: Size

    def acts(self, place: int) -> bool:
        """Whether the unit's weight for transformer block `place` is not zero."""
        weight = self.weights[place]
        return isinstance(weight, Tensor) or weight != 0.0


class GatedEffect:
    """Adds each unit's change to the hidden state between self and cross attention of every block.

    The change is added in place to the input of the second norm: that tensor is the block's hidden state,
    a fresh sum, to which the block adds the cross attention afterwards (decision 0030).
    """

    control: ClassVar[type] = GatedControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.shares: tuple[Share, ...] = ()
        self.objects: dict[tuple[Hashable, int], Tensor] = {}
        self.held = ExitStack()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook the second norm of every transformer block. Raises HostError for a block without one."""
        for place, site in enumerate(port.attention_sites()):
            name = f"{site.name.removesuffix('attn2')}norm2"
            try:
                norm = port.module.get_submodule(name)
            except AttributeError as error:
                raise HostError(f"the U-Net has no {name}: GLIGEN cannot act in its blocks") from error
            self.hook(hooks, place, norm)

    def hook(self, hooks: Hooks, place: int, norm: nn.Module) -> None:
        """Hook the second norm of one transformer block."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if self.shares:
                self.change(place, args[0])

        hooks.add(norm.register_forward_pre_hook(change))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Prepare what each unit does in this call."""
        self.end()
        self.shares = tuple(self.share(each, call) for each in acting)

    def share(self, each: ActingUnit, call: UNetCall) -> Share:
        """Bring a unit's weights to the device, and return what it adds in this call."""
        control = control_of(each.unit, GatedControl)
        self.held.enter_context(control.present())
        rows = [row for row, weight in enumerate(each.row_weights) if weight is not None]
        row_weights = [each.row_weights[row] for row in rows]
        kinds = [int(call.position.rows.cond[row]) for row in rows]
        return Share(
            unit=each.unit,
            rows=row_index(rows),
            kinds=torch.tensor(kinds, device=call.inputs.x.device),
            weights=layer_factors(row_weights, control.layers),
            mask=self.masks.of(each.unit, row_weights, call),
            size=call.size,
        )

    def change(self, place: int, hidden: Tensor) -> None:
        """Add the changes of all units to the hidden state [B, N, C] of a block in place.

        Each is computed from the hidden state without the others.
        """
        acting = [share for share in self.shares if share.acts(place)]
        changes = [self.added(place, hidden, share) for share in acting]
        for share, change in zip(acting, changes, strict=True):
            hidden[share.rows] += change

    def added(self, place: int, hidden: Tensor, share: Share) -> Tensor:
        """Return what one unit adds to its rows of a block's hidden state."""
        control = control_of(share.unit, GatedControl)
        key = share.unit.key, place
        if key not in self.objects:
            self.objects[key] = control.objects_at(place)
        objects = self.objects[key].to(hidden.device)[share.kinds]
        change = control.gated(place, hidden[share.rows], objects, share.weights[place]).to(hidden)
        if share.mask is not None:
            change = change * token_mask(share.mask, hidden.shape[1], share.size).to(change)
        return change

    def end(self) -> None:
        """Clear what was prepared for the call, and release the controls' weights."""
        self.shares = ()
        self.held.close()

    def close(self) -> None:
        """Clear the cached objects."""
        self.end()
        self.objects.clear()
