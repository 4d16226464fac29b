"""Appends tokens to the text's in conditional rows, as the T2I style adapter does.

Appending them to the U-Net's context would need tokens in every row of the batch, and change rows on
which the unit must not act. So the output of each cross attention is corrected instead: in the rows on
which the unit acts, attention over text and extra tokens minus attention over the text is added.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import ContextControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.attention import attend, token_mask
from lib_ctrlgen.unet.call import AttentionSite, UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import Factor, times

from .base import ActingUnit, Masks, Size

PARTS = ("to_q", "to_k", "to_v")
Pair: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Addition:
    """What one unit adds in a call: the rows it acts on, the factors per cross attention, its mask.

    The unit's tokens are repeated `copies` times, as often as the context repeats the text's tokens.
    """

    unit: ActiveUnit
    rows: tuple[int, ...]
    factors: tuple[Factor, ...]
    mask: Tensor | None
    copies: int = 1

    def acts(self, place: int) -> bool:
        """Whether the unit's factor for cross attention number `place` is not zero."""
        by = self.factors[place]
        return isinstance(by, Tensor) or by != 0.0

    def change(self, place: int, pair: Pair, seen: Sequence[Tensor], heads: int, size: Size) -> Tensor:
        """Return what to add to the attention output of the unit's rows, [R, N, hidden].

        pair: keys and values [1, T, hidden] of the unit's tokens; seen: the query, keys and values that the
        layer computed for the whole batch.
        """
        index, by = row_index(self.rows), self.factors[place]
        query, keys, values = (part[index] for part in seen)
        own = [each.repeat(1, self.copies, 1) for each in pair]
        more = [times(each.expand(len(self.rows), -1, -1), by).to(query) for each in own]
        joint = attend(query, torch.cat((keys, more[0]), 1), torch.cat((values, more[1]), 1), heads)
        change = joint - attend(query, keys, values, heads)
        if isinstance(by, Tensor):  # a zero token would still get a share of the softmax
            change = times(change, (by != 0).to(by))
        if self.mask is not None:
            change = change * token_mask(self.mask, query.shape[1], size).to(change)
        return change


class ContextEffect:
    """Corrects the output of every cross attention for the units' extra tokens, before `to_out`."""

    control: ClassVar[type] = ContextControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.sites: tuple[AttentionSite, ...] = ()
        self.pairs: dict[tuple[Hashable, int], Pair] = {}
        self.acting: tuple[Addition, ...] = ()
        self.size: Size = (0, 0)
        self.seen: dict[tuple[int, str], Tensor] = {}

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every cross attention."""
        self.pairs.clear()  # they may be those of another U-Net
        self.sites = port.attention_sites()
        for place, site in enumerate(self.sites):
            for part in PARTS:
                self.watch(hooks, place, part, getattr(site, part))
            self.hook(hooks, place, site)

    def watch(self, hooks: Hooks, place: int, part: str, module: nn.Module) -> None:
        """Record the output of `to_q`, `to_k` or `to_v` of a cross attention while units act."""

        def keep(_module: nn.Module, _args: object, output: Tensor) -> None:
            if self.acting:
                self.seen[place, part] = output

        hooks.add(module.register_forward_hook(keep))

    def hook(self, hooks: Hooks, place: int, site: AttentionSite) -> None:
        """Correct the attention output that is passed to `to_out`."""

        def correct(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.corrected(place, site.heads, args[0]), *args[1:]) if self.acting else None

        hooks.add(site.to_out.register_forward_pre_hook(correct))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Prepare what each unit adds in this call; unconditional rows get nothing."""
        self.end()
        found = [self.addition(each, call) for each in acting]
        self.size = call.size
        self.acting = tuple(each for each in found if each.rows)

    def addition(self, each: ActingUnit, call: UNetCall) -> Addition:
        """Return what a unit adds in a call."""
        rows = tuple(row for row in call.cond_rows() if each.row_weights[row] is not None)
        row_weights = [each.row_weights[row] for row in rows]
        factors = layer_factors(row_weights, len(self.sites)) if rows else ()
        mask = self.masks.of(each.unit, row_weights, call) if rows else None
        return Addition(each.unit, rows, factors, mask, call.position.copies)

    def pair_of(self, unit: ActiveUnit, place: int) -> Pair:
        """Return the keys and values of the unit's tokens in a layer, computed when it first acts there.

        This happens while the layer runs, because a host may keep blocks of the U-Net on the CPU until then.
        """
        key = unit.key, place
        if key not in self.pairs and isinstance(unit.control, ContextControl):
            tokens, site = unit.control.extra_tokens(), self.sites[place]
            with torch.no_grad():
                self.pairs[key] = projected(tokens, site.to_k), projected(tokens, site.to_v)
        return self.pairs[key]

    def corrected(self, place: int, heads: int, hidden: Tensor) -> Tensor:
        """Return a layer's attention output [B, N, hidden] corrected for the tokens of all units.

        Raises HostError if the host's attention code does not call `to_q`, `to_k` and `to_v`.
        """
        seen = [self.seen.pop((place, part), None) for part in PARTS]
        known = [part for part in seen if part is not None]
        if len(known) < len(PARTS):
            raise HostError(
                "the attention layer was called without its query, keys and values: an unknown "
                "attention optimisation"
            )
        corrected = hidden.clone()
        for each in self.acting:
            if each.acts(place):
                change = each.change(place, self.pair_of(each.unit, place), known, heads, self.size)
                corrected[row_index(each.rows)] += change.to(hidden)
        return corrected

    def end(self) -> None:
        """Clear what was prepared for the call."""
        self.acting = ()
        self.seen.clear()

    def close(self) -> None:
        """Clear the cached keys and values."""
        self.end()
        self.pairs.clear()


def projected(tokens: Tensor, module: nn.Module) -> Tensor:
    """Return the layer's output for the tokens, without its forward hooks, which record the text's."""
    found: Tensor = module.forward(tokens.to(next(module.parameters())))
    return found
