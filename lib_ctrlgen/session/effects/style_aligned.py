"""Aligns the pictures of a batch with their first one: StyleAligned.

Hertz et al. 2023, Style Aligned Image Generation via Shared Attention; the form of google/style-aligned. In
self attention, queries and keys of a picture get the first picture's statistics, and the picture reads the
first one's keys and values beside its own. Group norms count the first picture's numbers beside its own. The
first picture itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.own_layers import AlignedControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.attention import attend
from lib_ctrlgen.unet.call import AttentionSite, RowName, UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import fit_mask
from lib_ctrlgen.unet.statistics import Moments, moved_tokens, normalised

from .aligned_rows import Aligned, KeptRows, first_name, first_rows, left_alone, rows_to_keep
from .base import ActingUnit, Masks, Size, control_of
from .self_attention import Attended, AttentionSeen, mask_on_tokens

SPLIT = (
    "StyleAligned needs the first picture of the batch, and the host computes others of the batch before it: "
    "another extension changes the order of the rows; switch it off, or the unit"
)


class AlignedEffect:
    """Changes self attention and group norms in the rows of all pictures but the first of each group."""

    control: ClassVar[type] = AlignedControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.sites: tuple[AttentionSite, ...] = ()
        self.acting: tuple[Aligned, ...] = ()
        self.size: Size = (0, 0)
        self.batch = 0
        self.seen = AttentionSeen()
        self.step: tuple[bool, int] = (False, 0)
        self.kept = KeptRows()
        self.new = KeptRows()
        self.keeping: list[int] = []

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every self attention and every group norm."""
        self.close()  # what is kept may be another U-Net's
        self.sites = port.self_attention_sites()
        for number, site in enumerate(self.sites):
            self.seen.watch(hooks, number, site, lambda: self.busy)
            self.change_attention(hooks, number, site)
        norms = [module for module in port.module.modules() if isinstance(module, nn.GroupNorm)]
        for number, norm in enumerate(norms):
            self.change_norm(hooks, number, norm)

    @property
    def busy(self) -> bool:
        """Whether a unit changes rows of this call, or rows are kept for a later one."""
        return bool(self.acting or self.keeping)

    def change_attention(self, hooks: Hooks, number: int, site: AttentionSite) -> None:
        """Change the attention output that is passed to `to_out`."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.attended(number, site, args[0]), *args[1:]) if self.busy else None

        hooks.add(site.to_out.register_forward_pre_hook(change))

    def change_norm(self, hooks: Hooks, number: int, norm: nn.GroupNorm) -> None:
        """Change a group norm's output."""

        def change(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return self.normalised(number, norm, args[0], output) if self.busy else None

        hooks.add(norm.register_forward_hook(change))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Find the rows that each unit changes in this call, and those to keep for later calls."""
        self.end()
        step = call.position.hires, call.position.step
        if step != self.step:
            self.kept = KeptRows()
        self.step, self.size, self.batch = step, call.size, call.batch
        groups = {control_of(each.unit, AlignedControl).pictures for each in acting}
        later = {name: row for size in groups for name, row in rows_to_keep(size, call).items()}
        self.new, self.keeping = KeptRows(names=list(later)), list(later.values())
        found = [self.aligned(each, call) for each in acting]
        self.acting = tuple(each for each in found if each.rows)

    def aligned(self, each: ActingUnit, call: UNetCall) -> Aligned:
        """Return what a unit does in a call. Raises HostError if a row's first picture was in no call yet."""
        control = control_of(each.unit, AlignedControl)
        firsts = first_rows(control.pictures, call, self.kept.names)
        pairs = [
            (row, first, row_weight)
            for row, (first, row_weight) in enumerate(zip(firsts, each.row_weights, strict=True))
            if row_weight is not None and first != row
        ]
        if any(first is None for _, first, _ in pairs):
            raise HostError(SPLIT)
        return Aligned(
            control=control,
            rows=[row for row, _, _ in pairs],
            firsts=[first for _, first, _ in pairs if first is not None],
            row_weights=[row_weight for _, _, row_weight in pairs],
            mask=self.masks.of(each.unit, each.row_weights, call),
        )

    def attended(self, number: int, site: AttentionSite, hidden: Tensor) -> Tensor:
        """Return a self attention's output [B, N, hidden] with aligned rows, before `to_out`."""
        seen = self.seen.take(number, hidden, self.batch)
        if self.keeping:
            query, keys, values = (each[self.keeping] for each in seen)
            self.new.attention[number] = query, keys, values
        wide = self.kept.behind(number, seen)
        for each in self.acting:
            if left_alone(len(self.sites), each.control.only_self_level)[number]:
                continue
            index = row_index(each.rows)
            found = shared_attention(each, wide, site.heads)
            mask = None if each.mask is None else mask_on_tokens(each.mask, hidden.shape[1], self.size)
            hidden = each.blended(hidden, index, found, mask, number)
        return hidden

    def normalised(self, number: int, norm: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
        """Return a group norm's output [B, C, H, W] with the statistics of two pictures in aligned rows."""
        moments = Moments.of_groups(x, norm.num_groups)
        if self.keeping:
            self.new.norms[number] = moments.rows(self.keeping)
        wide = self.kept.behind_moments(number, moments)
        for each in self.acting:
            if not each.control.shares_norms:
                continue
            index = row_index(each.rows)
            joint = moments.rows(each.rows).joined(wide.rows(each.firsts))
            found = normalised(x[index], norm, joint)
            mask = None if each.mask is None else fit_mask(each.mask, found)
            output = each.blended(output, index, found, mask)
        return output

    def coupled(self, call: UNetCall, acting: Sequence[ActingUnit]) -> list[list[int | RowName]]:
        """Return for each row the rows of the first pictures with which units align it."""
        groups = sorted({control_of(each.unit, AlignedControl).pictures for each in acting})
        firsts = [first_rows(size, call) for size in groups]
        found: list[list[int | RowName]] = []
        for row, (name, *_) in enumerate(call.names):
            pairs = [(each[row], first_name(name, size)) for each, size in zip(firsts, groups, strict=True)]
            found.append([other if first is None else first for first, other in pairs])
        return found

    def end(self) -> None:
        """Clear what was prepared for the call, and keep what later calls of the step need."""
        self.kept.add(self.new)
        self.new, self.keeping, self.acting = KeptRows(), [], ()
        self.seen.clear()

    def close(self) -> None:
        """Clear what was prepared and the references to the U-Net's layers."""
        self.end()
        self.kept, self.sites = KeptRows(), ()


def shared_attention(each: Aligned, seen: Attended, heads: int) -> Tensor:
    """Return the attention [R, N, hidden] of aligned rows to their own tokens and the first picture's."""
    query, keys, values = seen
    index, firsts, control = row_index(each.rows), each.firsts, each.control
    own_query = moved_tokens(query[index], Moments.of_tokens(query[firsts]))
    own_keys = moved_tokens(keys[index], Moments.of_tokens(keys[firsts]))
    wide = torch.cat((own_keys, control.score_scale * keys[firsts]), 1)
    shown = torch.cat((values[index], values[firsts]), 1)
    if not control.score_shift:
        return attend(own_query, wide, shown, heads)
    bias = query.new_zeros(1, 1, 1, wide.shape[1])
    bias[..., keys.shape[1] :] = control.score_shift
    return attend(own_query, wide, shown, heads, bias)
