"""Aligns the pictures of a batch with their first one: StyleAligned.

Hertz et al. 2023, Style Aligned Image Generation via Shared Attention; the form of google/style-aligned. In
self attention, queries and keys of a picture get the first picture's statistics, and the picture reads the
first one's keys and values beside its own. Group norms count the first picture's numbers beside its own. The
first picture itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import AlignedControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import RowWeight
from lib_ctrlgen.unet.attention import attend
from lib_ctrlgen.unet.call import AttentionSite, RowName, UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import fit_mask
from lib_ctrlgen.unet.statistics import Moments, moved_tokens, normalised

from .base import ActingUnit, Masks, Size, control_of
from .nested_shares import spread
from .self_attention import AttentionSeen, mask_on_tokens

SPLIT = (
    "StyleAligned needs the first picture of the batch in each call of the U-Net, and the host computes the "
    "batch in parts: take fewer pictures or prompts joined by AND, or switch 'Batch cond/uncond' on"
)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A unit in one call: the rows that it changes, the row of the first picture for each, and its mask.

    `mask` is [1 or B, 1, h, w] for the rows of the whole call.
    """

    control: AlignedControl
    rows: list[int]
    firsts: list[int]
    doses: Sequence[RowWeight]
    mask: Tensor | None

    def shares(self, layer: int | None = None) -> Tensor:
        """Return the weight 0..1 of each row, [R]; `layer` is the number of the self attention."""
        numbers = [
            max(dose.weight, 0.0)
            * (1.0 if layer is None or dose.layers is None else max(dose.layers[layer], 0.0))
            for dose in self.doses
        ]
        return torch.tensor(numbers).clamp(max=1.0)

    def masked(self, change: Tensor, mask: Tensor | None) -> Tensor:
        """Return a change [R, ...] times the mask, fitted to it for one row or for all rows of the call."""
        if mask is None:
            return change
        return change * (mask if len(mask) == 1 else mask[self.rows]).to(change)


class AlignedEffect:
    """Changes self attention and group norms in the rows of all pictures but the first of each group."""

    control: ClassVar[type] = AlignedControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.sites: tuple[AttentionSite, ...] = ()
        self.acting: tuple[Aligned, ...] = ()
        self.size: Size = (0, 0)
        self.seen = AttentionSeen()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every self attention and every group norm."""
        self.sites = port.self_attention_sites()
        for number, site in enumerate(self.sites):
            self.seen.watch(hooks, number, site, lambda: bool(self.acting))
            self.change_attention(hooks, number, site)
        for module in port.module.modules():
            if isinstance(module, nn.GroupNorm):
                self.change_norm(hooks, module)

    def change_attention(self, hooks: Hooks, number: int, site: AttentionSite) -> None:
        """Change the attention output that is passed to `to_out`."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.attended(number, site, args[0]), *args[1:]) if self.acting else None

        hooks.add(site.to_out.register_forward_pre_hook(change))

    def change_norm(self, hooks: Hooks, norm: nn.GroupNorm) -> None:
        """Change a group norm's output."""

        def change(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            sharing = [each for each in self.acting if each.control.shares_norms]
            return self.normalised(norm, args[0], output, sharing) if sharing else None

        hooks.add(norm.register_forward_hook(change))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Find the rows that each unit changes in this call."""
        self.end()
        self.size = call.size
        found = [self.aligned(each, call) for each in acting]
        self.acting = tuple(each for each in found if each.rows)

    def aligned(self, each: ActingUnit, call: UNetCall) -> Aligned:
        """Return what a unit does in a call. Raises HostError if a row's first picture is not in it."""
        control = control_of(each.unit, AlignedControl)
        firsts = first_rows(control.pictures, call)
        pairs = [
            (row, first, dose)
            for row, (first, dose) in enumerate(zip(firsts, each.doses, strict=True))
            if dose is not None and first != row
        ]
        if any(first is None for _, first, _ in pairs):
            raise HostError(SPLIT)
        return Aligned(
            control=control,
            rows=[row for row, _, _ in pairs],
            firsts=[first for _, first, _ in pairs if first is not None],
            doses=[dose for _, _, dose in pairs],
            mask=self.masks.of(each.unit, each.doses, call),
        )

    def attended(self, number: int, site: AttentionSite, hidden: Tensor) -> Tensor:
        """Return a self attention's output [B, N, hidden] with aligned rows, before `to_out`."""
        seen = self.seen.take(number, hidden)
        for each in self.acting:
            if left_alone(len(self.sites), each.control.only_self_level)[number]:
                continue
            index = row_index(each.rows)
            change = shared_attention(each, seen, site.heads) - hidden[index]
            mask = None if each.mask is None else mask_on_tokens(each.mask, hidden.shape[1], self.size)
            change = spread(each.shares(number), change) * each.masked(change, mask)
            hidden = hidden.clone()
            hidden[index] += change.to(hidden)
        return hidden

    def normalised(self, norm: nn.GroupNorm, x: Tensor, output: Tensor, sharing: Sequence[Aligned]) -> Tensor:
        """Return a group norm's output [B, C, H, W] with the statistics of two pictures in aligned rows."""
        output = output.clone()
        moments = Moments.of_groups(x, norm.num_groups)
        for each in sharing:
            index = row_index(each.rows)
            joint = moments.rows(each.rows).joined(moments.rows(each.firsts))
            change = normalised(x[index], norm, joint) - output[index]
            mask = None if each.mask is None else fit_mask(each.mask, change)
            output[index] += (spread(each.shares(), change) * each.masked(change, mask)).to(output)
        return output

    def coupled(self, call: UNetCall, acting: Sequence[ActingUnit]) -> list[list[int | None]]:
        """Return for each row the rows of the first pictures with which units align it."""
        groups = {control_of(each.unit, AlignedControl).pictures for each in acting}
        firsts = [first_rows(size, call) for size in sorted(groups)]
        return [[each[row] for each in firsts] for row in range(call.batch)]

    def end(self) -> None:
        """Clear what was prepared for the call."""
        self.acting = ()
        self.seen.clear()

    def close(self) -> None:
        """Clear what was prepared and the references to the U-Net's layers."""
        self.end()
        self.sites = ()


def first_rows(pictures: int, call: UNetCall) -> list[int | None]:
    """Return for each row the row of the first picture of its group, with the same kind of text.

    A group is `pictures` consecutive pictures. The first picture's row has the same concept, and the same
    number among the prompts joined by AND; where it has fewer prompts, its first one. None: not in the call.
    """
    rows = {name: row for row, names in enumerate(call.names) for name in names}
    found = []
    for name, *_ in call.names:
        first = name.image // pictures * pictures
        own = name._replace(image=first)
        found.append(rows.get(own, rows.get(RowName(own.cond, first, own.concept, 0))))
    return found


def left_alone(layers: int, level: float) -> tuple[bool, ...]:
    """Return which of the self attentions are left alone, about the share `level` of them, evenly spread.

    After google/style-aligned: every n-th layer, or for a level above 0.5 all but every n-th.

    >>> left_alone(6, 0.34), left_alone(4, 0.75), left_alone(2, 0.1)
    ((True, False, False, True, False, False), (False, True, True, True), (False, False))
    """
    few = min(level, 1 - level)
    count = int(few * layers)
    chosen = [count > 0 and place % (layers // count) == 0 for place in range(layers)]
    return tuple(not each if level > 1 - level else each for each in chosen)


def shared_attention(each: Aligned, seen: tuple[Tensor, Tensor, Tensor], heads: int) -> Tensor:
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
