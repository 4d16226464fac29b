"""Changes of what the linear layers of attention read: ControlNet-LLLite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import InputChange, InputControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.attention import token_mask
from lib_ctrlgen.unet.call import UNetCall, row_index
from lib_ctrlgen.unet.linear_sites import InputSite, input_sites
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import Factor, times

from .base import ActingUnit, Masks, RowWeights, Size, control_of


@dataclass(frozen=True, kw_only=True)
class Share:
    """A unit's part of one layer in one call: its change, times a weight and a mask, in its rows alone."""

    change: InputChange
    rows: slice | list[int]
    weight: Factor
    mask: Tensor | None
    size: Size

    def add(self, changed: Tensor, x: Tensor) -> None:
        """Add it to `changed` in place; `x` [B, N, C] is what the layer would have read."""
        part = times(self.change.of(x[self.rows]), self.weight)
        if self.mask is not None:
            part = part * token_mask(self.mask, x.shape[1], self.size).to(part)
        changed[self.rows] += part.to(changed)


class InputEffect:
    """Adds each unit's change to the inputs of linear layers; each unit sees the unchanged input."""

    control: ClassVar[type] = InputControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.sites: tuple[InputSite, ...] = ()
        self.shares: dict[str, list[Share]] = {}
        self.held = ExitStack()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every layer that reads the picture."""
        self.sites = input_sites(port.module)
        for site in self.sites:
            self.hook(hooks, site)

    def hook(self, hooks: Hooks, site: InputSite) -> None:
        """Change what one layer reads."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            shares = self.shares.get(site.name)
            return (changed(args[0], shares), *args[1:]) if shares else None

        hooks.add(site.module.register_forward_pre_hook(change))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Set up every layer's changes."""
        self.end()
        for each in acting:
            self.share(each.unit, each.doses, call)

    def share(self, unit: ActiveUnit, doses: RowWeights, call: UNetCall) -> None:
        """Set up one unit's changes, for the rows on which it acts."""
        control = control_of(unit, InputControl)
        self.held.enter_context(control.present())
        rows = [row for row, dose in enumerate(doses) if dose is not None]
        weights = layer_factors([doses[row] for row in rows], control.layers)
        mask = self.masks.of(unit, [doses[row] for row in rows], call)
        for name, change in control.changes(self.sites, call.size).items():
            weight = weights[change.layer]
            if isinstance(weight, Tensor) or weight != 0.0:
                share = Share(change=change, rows=row_index(rows), weight=weight, mask=mask, size=call.size)
                self.shares.setdefault(name, []).append(share)

    def end(self) -> None:
        """Forget the call."""
        self.shares = {}
        self.held.close()

    def close(self) -> None:
        """Forget the U-Net."""
        self.end()
        self.sites = ()


def changed(x: Tensor, shares: Sequence[Share]) -> Tensor:
    """What a layer reads instead of `x` [B, N, C]."""
    result = x.clone()
    for share in shares:
        share.add(result, x)
    return result
