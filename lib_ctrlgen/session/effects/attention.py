"""Adds attention over image tokens to every cross attention, for IP-Adapter and similar controls."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.attention_protocols import AttentionPart, LayeredControl
from lib_ctrlgen.controls.protocols import AttentionControl, ResidualControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import RowWeight, attention_factors, layer_factors
from lib_ctrlgen.unet.attention import V_ONLY, AttentionTerm, KeyValue
from lib_ctrlgen.unet.call import AttentionSite, UNetCall, row_index
from lib_ctrlgen.unet.orthogonal import NEUTRAL
from lib_ctrlgen.unet.port import Hooks, UNetPort

from .base import ActingUnit, Masks, RowWeights, Size, control_of, mask_fit


@dataclass
class StepState:
    """What the hooks need during one U-Net call; empty between calls.

    terms     for each cross attention the terms of the units that act
    kinds     for each row 1 if conditional, else 0, [B]
    size      height and width of the latent
    queries   the query of each cross attention that has begun
    """

    terms: tuple[tuple[AttentionTerm, ...], ...] = ()
    kinds: Tensor | None = None
    size: Size = (0, 0)
    queries: dict[int, Tensor] = field(default_factory=dict)


class AttentionEffect:
    """Adds each unit's attention term to the output of every cross attention, before `to_out`."""

    control: ClassVar[type] = AttentionControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.state = StepState()
        self.sites: tuple[AttentionSite, ...] = ()
        self.pairs: dict[Hashable, tuple[AttentionControl, tuple[KeyValue, ...]]] = {}
        self.shares: dict[Hashable, Tensor] = {}

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every cross attention."""
        self.sites = port.attention_sites()
        for place, site in enumerate(self.sites):
            self.hook(hooks, place, site)

    def hook(self, hooks: Hooks, place: int, site: AttentionSite) -> None:
        """Hook one cross attention: record its query, and add the terms to the input of `to_out`."""

        def keep_query(_module: nn.Module, _args: object, output: Tensor) -> None:
            if self.state.terms:
                self.state.queries[place] = output

        def add_terms(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not self.state.terms:
                return None
            return (self.attended(place, site.heads, args[0]), *args[1:])

        hooks.add(site.to_q.register_forward_hook(keep_query))
        hooks.add(site.to_out.register_forward_pre_hook(add_terms))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Prepare the terms of every cross attention for this call."""
        self.state = StepState()
        if not acting:
            return
        per_unit = [terms for each in acting for terms in self.terms(each.unit, each.row_weights, call)]
        kinds = torch.tensor(call.position.rows.cond, dtype=torch.long, device=call.inputs.x.device)
        self.state = StepState(terms=tuple(zip(*per_unit, strict=True)), kinds=kinds, size=call.size)

    def terms(self, unit: ActiveUnit, row_weights: RowWeights, call: UNetCall) -> list[list[AttentionTerm]]:
        """Return for each part of a unit its term for each cross attention."""
        rows = [row for row, each in enumerate(row_weights) if each is not None]
        own = [each for each in row_weights if each is not None]
        mask = self.masks.of(unit, own, call)
        index = None if len(rows) == call.batch else row_index(rows)
        control = control_of(unit, AttentionControl)
        if isinstance(control, LayeredControl):
            scaling, form = control.weighting.scaling, control.weighting.form
            parts = control.parts(call.position.step / call.position.steps)
            weights = attention_factors(own, control.weighting)
        else:
            parts, scaling, form = (AttentionPart(control),), V_ONLY, NEUTRAL
            weights = layer_factors(own_of_attention(own, control), len(self.sites))
        return [
            [
                AttentionTerm(
                    pair,
                    weight,
                    self.within(mask, part, (unit.key, place), call),
                    index,
                    scaling,
                    form,
                    mask_fit(unit),
                )
                for pair, weight in zip(
                    self.pairs_of((unit.key, place), part.control, call.inputs.x), weights, strict=True
                )
            ]
            for place, part in enumerate(parts)
        ]

    def pairs_of(self, key: Hashable, control: AttentionControl, x: Tensor) -> tuple[KeyValue, ...]:
        """Return a part's keys and values per cross attention, computed in the first call of its control."""
        known = self.pairs.get(key)
        if known is None or known[0] is not control:
            known = self.pairs[key] = control, control.terms(self.sites, x.dtype, x.device)
        return known[1]

    def within(
        self, mask: Tensor | None, part: AttentionPart, key: Hashable, call: UNetCall
    ) -> Tensor | None:
        """Return the unit's mask limited to the part's share of the picture, [1 or B, 1, h, w]."""
        if part.share is None:
            return mask
        key = (key, call.size, call.inputs.x.device)
        if key not in self.shares:
            self.shares[key] = part.share(*call.size).to(call.inputs.x.device)
        return self.shares[key] if mask is None else mask * self.shares[key]

    def attended(self, place: int, heads: int, hidden: Tensor) -> Tensor:
        """Return a cross attention's output [B, N, hidden] with the terms of all units added.

        Raises HostError if no query was recorded, as the host's attention code does not call `to_q`.
        """
        state = self.state
        query = state.queries.pop(place, None)
        if query is None or state.kinds is None:
            raise HostError(
                "the attention layer was called without its query: an unknown attention optimisation"
            )
        text = hidden
        for term in state.terms[place]:
            if term.acts and term.rows is None:
                output = term.output(query, state.kinds, heads, state.size, text)
                hidden = output.to(hidden).add_(hidden)  # in place, to save a large tensor
        parts = [term for term in state.terms[place] if term.acts and term.rows is not None]
        if parts:
            hidden = hidden.clone()
        for term in parts:
            rows = term.rows
            output = term.output(query[rows], state.kinds[rows], heads, state.size, text[rows])
            hidden[term.rows] += output.to(hidden)
        return hidden

    def end(self) -> None:
        """Clear what was prepared for the call."""
        self.state = StepState()

    def close(self) -> None:
        """Clear the cached keys and values."""
        self.state = StepState()
        self.pairs.clear()
        self.shares.clear()


def own_of_attention(row_weights: Sequence[RowWeight], control: AttentionControl) -> list[RowWeight]:
    """Return row weights without what is for a control's residuals: layer weights, and the mode."""
    return [each.even if isinstance(control, ResidualControl) else each for each in row_weights]
