"""A reference unit in one call of the U-Net: how much of its picture each row gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.controls.own_layers import ReferenceControl, Sharing
from lib_ctrlgen.session.row_weights import RowWeight
from lib_ctrlgen.unet.call import AttentionSite, UNetCall
from lib_ctrlgen.unet.statistics import Moments

from .base import ActingUnit, Masks, RowWeights, control_of
from .reference_bank import BankKey, Banks, Place, bank_keys
from .self_attention import strength


@dataclass(frozen=True, kw_only=True)
class Member:
    """A unit that acts in a call: its control, row weights, mask, and the bank row of each row.

    Rows without a bank row are not changed. `hires` is whether the call belongs to the hires pass.
    """

    control: ReferenceControl
    row_weights: RowWeights
    conds: Sequence[bool]
    places: Sequence[Place | None]
    mask: Tensor | None
    hires: bool

    @staticmethod
    def of(each: ActingUnit, banks: Banks, masks: Masks, call: UNetCall) -> Member:
        """Return a unit whose banks were computed."""
        pairs = zip(wanted(each, call), call.names, strict=True)
        return Member(
            control=control_of(each.unit, ReferenceControl),
            row_weights=each.row_weights,
            conds=call.position.rows.cond,
            places=[None if key is None else banks.place(key, names) for key, names in pairs],
            mask=masks.of(each.unit, each.row_weights, call),
            hires=call.position.hires,
        )

    def shares(self, kind: Sharing, layer: int | None = None) -> tuple[float, ...]:
        """Return for each row the share 0..1 of the result with the picture, the mask not counted.

        `layer` is the number of the self attention, for the layer weights.
        """
        pairs = zip(self.row_weights, self.conds, strict=True)
        return tuple(
            share(row_weight, kind, layer, cond=cond, hires=self.hires) for row_weight, cond in pairs
        )

    def places_of(self, rows: Sequence[int]) -> list[Place]:
        """Return the bank rows of these rows, each of which must have one."""
        return [place for row in rows if (place := self.places[row]) is not None]

    def pair(self, number: int, site: AttentionSite, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the picture's keys and values [R, N, hidden] of self attention `number` for these rows."""
        places = self.places_of(rows)
        found = {place: place.pair(number, site) for place in places}
        keys, values = zip(*(found[place] for place in places), strict=True)
        return torch.cat(keys), torch.cat(values)

    def moments(self, number: int, rows: Sequence[int]) -> Moments:
        """Return the picture's moments of block `number` for these rows."""
        parts = [place.bank.moments[number].rows([place.row]) for place in self.places_of(rows)]
        means, variances = zip(*parts, strict=True)
        return Moments(torch.cat(means), torch.cat(variances))


def share(
    row_weight: RowWeight | None, kind: Sharing, layer: int | None = None, *, cond: bool, hires: bool
) -> float:
    """Return the share 0..1 of the result with the picture in one row.

    Conditional rows get the weight. Unconditional rows get 1 - fidelity of it; the fidelity is 0 in the mode
    `prompt` and in the hires pass. (In the mode `control` they have no row weight.)
    """
    if row_weight is None or kind.coverage <= 0:
        return 0.0
    fidelity = 0.0 if hires or row_weight.mode == "prompt" else kind.fidelity
    return min(strength(row_weight, layer), 1.0) * (1.0 if cond else 1.0 - fidelity)


def wanted(each: ActingUnit, call: UNetCall) -> list[BankKey | None]:
    """Return for each row the key of the bank that a unit needs there, None where it does not act."""
    control, hires = control_of(each.unit, ReferenceControl), call.position.hires
    keys, conds = bank_keys(each, call), call.position.rows.cond
    return [
        key
        if share(row_weight, control.attention, cond=cond, hires=hires) > 0
        or share(row_weight, control.adain, cond=cond, hires=hires) > 0
        else None
        for key, row_weight, cond in zip(keys, each.row_weights, conds, strict=True)
    ]
