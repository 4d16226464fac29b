"""Which rows StyleAligned changes in a call, and the first pictures' rows that they are aligned with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_ctrlgen.controls.own_layers import AlignedControl
from lib_ctrlgen.session.row_weights import RowWeight
from lib_ctrlgen.unet.call import RowName, UNetCall
from lib_ctrlgen.unet.statistics import Moments

from .nested_shares import spread
from .self_attention import Attended, strength


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A unit in one call: the rows that it changes, the row of the first picture for each, and its mask.

    A first row from the batch size on is one of `KeptRows`. `mask` is [1 or B, 1, h, w].
    """

    control: AlignedControl
    rows: list[int]
    firsts: list[int]
    row_weights: Sequence[RowWeight]
    mask: Tensor | None

    def shares(self, layer: int | None = None) -> Tensor:
        """Return the weight 0..1 of each row, [R]; `layer` is the number of the self attention."""
        return torch.tensor([strength(each, layer) for each in self.row_weights]).clamp(max=1.0)

    def blended(
        self,
        plain: Tensor,
        index: slice | list[int],
        found: Tensor,
        mask: Tensor | None,
        layer: int | None = None,
    ) -> Tensor:
        """Return a layer's output [B, ...] with `found` [R, ...] in the rows `index`, by the rows' shares.

        `mask` is that of the unit, brought to the layer's size.
        """
        blended, shares = plain.clone(), self.shares(layer)
        if mask is None and bool((shares == 1).all()):
            blended[index] = found.to(plain)
            return blended
        change = found - plain[index]
        blended[index] += (spread(shares, change) * self.masked(change, mask)).to(plain)
        return blended

    def masked(self, change: Tensor, mask: Tensor | None) -> Tensor:
        """Return a change [R, ...] times the mask, fitted to it for one row or for all rows of the call."""
        if mask is None:
            return change
        return change * (mask if len(mask) == 1 else mask[self.rows]).to(change)


@dataclass
class KeptRows:
    """What the first pictures' rows gave in earlier calls of a step, for rows that later calls have.

    attention  query, keys and values of each self attention by its number, a row for each name
    norms      the moments of each group norm's input by its number
    """

    names: list[RowName] = field(default_factory=list)
    attention: dict[int, Attended] = field(default_factory=dict)
    norms: dict[int, Moments] = field(default_factory=dict)

    def add(self, other: KeptRows) -> None:
        """Add the rows of a call that has ended."""
        self.names += other.names
        for number, seen in other.attention.items():
            self.attention[number] = self.behind(number, seen, first=True)
        for number, moments in other.norms.items():
            self.norms[number] = self.behind_moments(number, moments, first=True)

    def behind(self, number: int, seen: Attended, *, first: bool = False) -> Attended:
        """Return queries, keys and values with the kept rows appended, or with `first` prepended."""
        kept = self.attention.get(number)
        if kept is None:
            return seen
        pairs = zip(*((kept, seen) if first else (seen, kept)), strict=True)
        query, keys, values = (torch.cat(each) for each in pairs)
        return query, keys, values

    def behind_moments(self, number: int, moments: Moments, *, first: bool = False) -> Moments:
        """Return moments of a group norm's input with those of the kept rows appended, or prepended."""
        kept = self.norms.get(number)
        if kept is None:
            return moments
        pairs = zip(*((kept, moments) if first else (moments, kept)), strict=True)
        return Moments(*(torch.cat(each) for each in pairs))


def first_name(name: RowName, pictures: int) -> RowName:
    """Return the name of the first picture's row with the same text, for groups of so many pictures."""
    return name._replace(image=name.image // pictures * pictures)


def first_rows(pictures: int, call: UNetCall, kept: Iterable[RowName] = ()) -> list[int | None]:
    """Return for each row the row of the first picture of its group, with the same kind of text.

    A group is `pictures` consecutive pictures. The first picture's row has the same concept, and the same
    number among the prompts joined by AND; where it has fewer prompts, its first one. The rows `kept` are
    numbered from the batch size on. None: there is no such row.
    """
    rows = {name: call.batch + number for number, name in enumerate(kept)}
    rows |= {name: row for row, names in enumerate(call.names) for name in names}
    firsts = [first_name(names[0], pictures) for names in call.names]
    return [rows.get(first, rows.get(first._replace(nth=0))) for first in firsts]


def rows_to_keep(pictures: int, call: UNetCall) -> dict[RowName, int]:
    """Return the rows of first pictures, by name, with which rows of later calls may be aligned."""
    later = {first_name(name, pictures) for name in call.position.waiting}
    later |= {name._replace(nth=0) for name in later}
    return {name: row for row, names in enumerate(call.names) for name in names if name in later}


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
