"""Changes the inputs of the attention's linear layers, for ControlNet-LLLite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import InputChange, InputControl
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.attention import token_mask
from lib_ctrlgen.unet.call import UNetCall, row_index
from lib_ctrlgen.unet.linear_sites import InputSite, input_sites
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import Factor, times

from .base import ActingUnit, Masks, Size, mapped_control


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one unit adds to a layer's input in one call: its change, times weight and mask, in `rows`."""

    change: InputChange
    rows: slice | list[int]
    weight: Factor
    mask: Tensor | None
    size: Size

    def add(self, changed: Tensor, x: Tensor) -> None:
        """Add the change to `changed` in place; `x` [B, N, C] is the layer's original input."""
        part = times(self.change.of(x[self.rows]), self.weight)
        if self.mask is not None:
            part = part * token_mask(self.mask, x.shape[1], self.size).to(part)
        changed[self.rows] += part.to(changed)


class InputEffect:
    """Adds each unit's change to the inputs of linear layers, computed from the original input."""

    control: ClassVar[type] = InputControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.sites: tuple[InputSite, ...] = ()
        self.shares: dict[str, list[Share]] = {}
        self.held = ExitStack()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every linear layer whose input is image tokens."""
        self.sites = input_sites(port.module)
        for site in self.sites:
            self.hook(hooks, site)

    def hook(self, hooks: Hooks, site: InputSite) -> None:
        """Hook one layer to change its input."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            shares = self.shares.get(site.name)
            return (changed(args[0], shares), *args[1:]) if shares else None

        hooks.add(site.module.register_forward_pre_hook(change))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Prepare the changes of every layer for this call."""
        self.end()
        for each in acting:
            self.share(each, call)

    def share(self, each: ActingUnit, call: UNetCall) -> None:
        """Prepare one unit's changes in the rows on which it acts."""
        row_weights = each.row_weights
        rows = [row for row, row_weight in enumerate(row_weights) if row_weight is not None]
        control = mapped_control(each, InputControl, rows)
        self.held.enter_context(control.present())
        weights = layer_factors([row_weights[row] for row in rows], control.layers)
        mask = self.masks.of(each.unit, [row_weights[row] for row in rows], call)
        for name, change in control.changes(self.sites, call.size).items():
            weight = weights[change.layer]
            if isinstance(weight, Tensor) or weight != 0.0:
                share = Share(change=change, rows=row_index(rows), weight=weight, mask=mask, size=call.size)
                self.shares.setdefault(name, []).append(share)

    def end(self) -> None:
        """Clear the changes, and release the controls' weights."""
        self.shares = {}
        self.held.close()

    def close(self) -> None:
        """Clear the changes and the references to the U-Net's layers."""
        self.end()
        self.sites = ()


def changed(x: Tensor, shares: Sequence[Share]) -> Tensor:
    """Return the layer input `x` [B, N, C] with the changes of all units added."""
    result = x.clone()
    for share in shares:
        share.add(result, x)
    return result
