"""Tokens behind the text's on conditional rows: T2I's style adapter and its kin.

To put them into the U-Net's context itself, the other rows of the batch would need tokens too,
and would be changed by them. So each cross attention is corrected instead: by what attention
over all tokens of an acting row gives, less what it gives over the text's alone.
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
    """A unit's part in a call: its rows, its factors by layer, its mask.

    `copies` says how often each token of the text is there, and so each token of the unit has to be.
    """

    unit: ActiveUnit
    rows: tuple[int, ...]
    factors: tuple[Factor, ...]
    mask: Tensor | None
    copies: int = 1

    def acts(self, place: int) -> bool:
        """Whether there is anything to add in a layer."""
        by = self.factors[place]
        return isinstance(by, Tensor) or by != 0.0

    def change(self, place: int, pair: Pair, seen: Sequence[Tensor], heads: int, size: Size) -> Tensor:
        """What is added to a layer's attention output of these rows, [R, N, hidden].

        pair: the keys and values [1, T, hidden] of the unit's tokens in the layer; seen: the layer's own
        query, keys and values of the whole batch.
        """
        index, by = row_index(self.rows), self.factors[place]
        query, keys, values = (part[index] for part in seen)
        own = [each.repeat(1, self.copies, 1) for each in pair]
        more = [times(each.expand(len(self.rows), -1, -1), by).to(query) for each in own]
        joint = attend(query, torch.cat((keys, more[0]), 1), torch.cat((values, more[1]), 1), heads)
        change = joint - attend(query, keys, values, heads)
        if isinstance(by, Tensor):  # a token times zero would still take its share
            change = times(change, (by != 0).to(by))
        if self.mask is not None:
            change = change * token_mask(self.mask, query.shape[1], size).to(change)
        return change


class ContextEffect:
    """Corrects every cross attention for each unit's tokens, between its values and its last linear layer."""

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
        self.pairs.clear()  # of another U-Net
        self.sites = port.attention_sites()
        for place, site in enumerate(self.sites):
            for part in PARTS:
                self.watch(hooks, place, part, getattr(site, part))
            self.hook(hooks, place, site)

    def watch(self, hooks: Hooks, place: int, part: str, module: nn.Module) -> None:
        """Keep what a layer's module gives during a call."""

        def keep(_module: nn.Module, _args: object, output: Tensor) -> None:
            if self.acting:
                self.seen[place, part] = output

        hooks.add(module.register_forward_hook(keep))

    def hook(self, hooks: Hooks, place: int, site: AttentionSite) -> None:
        """Correct a layer's attention output before its last linear layer."""

        def correct(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.corrected(place, site.heads, args[0]), *args[1:]) if self.acting else None

        hooks.add(site.to_out.register_forward_pre_hook(correct))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Set up what each unit adds; nothing on unconditional rows."""
        self.end()
        found = [self.addition(each, call) for each in acting]
        self.size = call.size
        self.acting = tuple(each for each in found if each.rows)

    def addition(self, each: ActingUnit, call: UNetCall) -> Addition:
        """A unit's part in a call."""
        rows = tuple(row for row in call.cond_rows() if each.doses[row] is not None)
        doses = [each.doses[row] for row in rows]
        factors = layer_factors(doses, len(self.sites)) if rows else ()
        mask = self.masks.of(each.unit, doses, call) if rows else None
        return Addition(each.unit, rows, factors, mask, call.position.copies)

    def pair_of(self, unit: ActiveUnit, place: int) -> Pair:
        """The keys and values of the unit's tokens in a layer, computed when it first acts there.

        While the layer runs, since a host may keep a U-Net's blocks elsewhere until then.
        """
        key = unit.key, place
        if key not in self.pairs and isinstance(unit.control, ContextControl):
            tokens, site = unit.control.extra_tokens(), self.sites[place]
            with torch.no_grad():
                self.pairs[key] = projected(tokens, site.to_k), projected(tokens, site.to_v)
        return self.pairs[key]

    def corrected(self, place: int, heads: int, hidden: Tensor) -> Tensor:
        """A layer's attention output [B, N, hidden] with all units' tokens taken into account."""
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
        """Forget the call."""
        self.acting = ()
        self.seen.clear()

    def close(self) -> None:
        """Forget the keys and values."""
        self.end()
        self.pairs.clear()


def projected(tokens: Tensor, module: nn.Module) -> Tensor:
    """Tokens through a linear layer, on its device and in its dtype; past its hooks, which watch the text."""
    found: Tensor = module.forward(tokens.to(next(module.parameters())))
    return found
