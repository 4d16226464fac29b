"""The inputs and the position of one U-Net call, and the shape of the U-Net, as controls see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from lib_ctrlgen.request.progress import silent

from .family import Family

UNetPart: TypeAlias = Literal["input", "middle", "output"]

LATENT_FACTOR = 8


@dataclass(frozen=True)
class FeaturePlace:
    """A hidden state of the encoder: its channels, and the latent's height divided by its own (`stride`)."""

    channels: int
    stride: int


class AttentionPlace(NamedTuple):
    """Where a cross attention is: its spatial transformer's number in running order, and the U-Net's part.

    Transformers are numbered 0..15 on SD1.5 and 0..10 on SDXL, where each has several cross attentions.
    """

    transformer: int
    part: UNetPart


@dataclass(frozen=True, kw_only=True)
class UNetShape:
    """The layer sizes of a U-Net, which a control must fit.

    residual_channels  channels of the encoder's outputs in order, then of the mid block
                       (13 numbers on SD1.5, 10 on SDXL)
    residual_strides   the latent's height divided by that of each of these outputs
    attention_hidden   width of each cross attention in checkpoint order: down, up, mid
                       (16 on SD1.5, 70 on SDXL)
    heads              attention heads of each of these layers
    attention_places   where each of these layers is
    feature_places     where features are added: one per level, then the mid block
    """

    family: Family
    in_channels: int
    residual_channels: tuple[int, ...]
    residual_strides: tuple[int, ...]
    attention_hidden: tuple[int, ...]
    heads: tuple[int, ...]
    attention_places: tuple[AttentionPlace, ...]
    feature_places: tuple[FeaturePlace, ...]

    def residual_sizes(self, height: int, width: int) -> tuple[tuple[int, int, int], ...]:
        """Return channels, height and width of every residual for this latent size, the mid block's last."""
        return tuple(
            (channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(self.residual_channels, self.residual_strides, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """The layers of one cross attention; `to_out` is its last linear layer, `hidden` its width."""

    name: str
    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    to_out: nn.Module
    heads: int
    hidden: int


def repetitions(values: Sequence[Hashable]) -> tuple[int, ...]:
    """Return for each value how many equal values come before it.

    >>> repetitions("abaab")
    (0, 0, 1, 2, 1)
    """
    seen: Counter[Hashable] = Counter()
    found = []
    for value in values:
        found.append(seen[value])
        seen[value] += 1
    return tuple(found)


def row_index(rows: Sequence[int]) -> slice | list[int]:
    """Return an index for these rows of a tensor: a slice (giving a view) if they are consecutive."""
    if rows and tuple(rows) == tuple(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return list(rows)


class RowName(NamedTuple):
    """Identifies a row in every step; `nth` numbers rows that agree in the rest, such as those of `AND`."""

    cond: bool
    image: int
    concept: int
    nth: int


@dataclass(frozen=True)
class Rows:
    """For each row of a batch: whether it is conditional, its image, its concept and its `nth`.

    `nth` is the number of earlier rows of the step with the same other values; it may be omitted if the
    step has one call. `concept` may be omitted without a blend, when all rows belong to concept 0.
    """

    cond: tuple[bool, ...]
    image: tuple[int, ...]
    concept: tuple[int, ...] = ()
    nth: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.cond) != len(self.image):
            raise ValueError(f"{len(self.cond)} cond flags for {len(self.image)} images")
        if not self.concept:
            object.__setattr__(self, "concept", (0,) * len(self.cond))
        if not self.nth:
            alike = list(zip(self.cond, self.image, self.concept, strict=True))
            object.__setattr__(self, "nth", repetitions(alike))

    def __len__(self) -> int:
        return len(self.cond)

    def select(self, rows: Sequence[int]) -> Rows:
        """Return only these rows, in this order."""
        return Rows(
            tuple(self.cond[i] for i in rows),
            tuple(self.image[i] for i in rows),
            tuple(self.concept[i] for i in rows),
            tuple(self.nth[i] for i in rows),
        )

    @property
    def names(self) -> tuple[RowName, ...]:
        """The name of each row."""
        return tuple(map(RowName, self.cond, self.image, self.concept, self.nth))


@dataclass(frozen=True)
class Position:
    """The step of a U-Net call, counted from 0, and its rows. Progress is `step / steps`.

    `hires` is true in the hires pass, whose steps count from 0 again. `copies` is the number of times that
    the context of a conditional row repeats each token of its text. `waiting` are the step's rows that later
    calls may have. `reported` is the progress that the host reports of itself, if it does: that of the last
    finished step.

    `size` is the height and width of the pass's latent, None if the clock does not know it. `regrouped` is
    true where another program splits a batch of the host: into tiles, with several rows for each of the
    host's, or into parts of its rows.
    """

    step: int
    steps: int
    rows: Rows
    hires: bool = False
    copies: int = 1
    waiting: tuple[RowName, ...] = ()
    reported: float | None = None
    size: tuple[int, int] | None = None
    regrouped: bool = False


@dataclass(frozen=True, kw_only=True)
class CallInputs:
    """The arguments with which the host called the U-Net.

    x: latent [B, C, h, w]; timestep: [B]; context: text features [B, T, X]; added: further conditioning,
    such as SDXL's pooled vector.
    """

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: Mapping[str, Any] = field(default_factory=dict)

    def select(self, rows: Sequence[int]) -> CallInputs:
        """Return only these rows, in this order."""
        index = row_index(rows)
        added = {
            key: value[index] if isinstance(value, Tensor) else value for key, value in self.added.items()
        }
        return CallInputs(
            x=self.x[index], timestep=self.timestep[index], context=self.context[index], added=added
        )


@dataclass(frozen=True, kw_only=True)
class UNetCall:
    """One U-Net call: its inputs, its position, and the U-Net itself if there is one.

    When equal rows are computed once, `shared_names` holds for each row the names of all rows that it stands
    for. `tell` shows the user a text, such as which unit is computed.
    """

    inputs: CallInputs
    position: Position
    unet: nn.Module | None = None
    shared_names: tuple[tuple[RowName, ...], ...] = ()
    tell: Callable[[str], object] = field(default=silent, compare=False, repr=False)

    @property
    def names(self) -> tuple[tuple[RowName, ...], ...]:
        """For each row the names of all rows that it is computed for."""
        return self.shared_names or tuple((name,) for name in self.position.rows.names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the latent."""
        height, width = self.inputs.x.shape[-2:]
        return int(height), int(width)

    @property
    def batch(self) -> int:
        """The number of rows."""
        return int(self.inputs.x.shape[0])

    def cond_rows(self) -> tuple[int, ...]:
        """The indices of the conditional rows."""
        return tuple(i for i, cond in enumerate(self.position.rows.cond) if cond)

    def select(self, rows: Sequence[int]) -> UNetCall:
        """Return the call with only these rows; the call itself if these are all its rows, in order."""
        if tuple(rows) == tuple(range(self.batch)):
            return self
        position = replace(self.position, rows=self.position.rows.select(rows))
        shared_names = tuple(self.shared_names[row] for row in rows) if self.shared_names else ()
        return replace(self, inputs=self.inputs.select(rows), position=position, shared_names=shared_names)

    def all_cond(self) -> UNetCall:
        """Return a copy of the call in which every row counts as conditional."""
        rows = replace(self.position.rows, cond=(True,) * self.batch)
        return replace(self, position=replace(self.position, rows=rows))

    def shared(self, inverse: Sequence[int], firsts: Sequence[int]) -> UNetCall:
        """Return the call with only the rows `firsts`; row `i` is computed as `firsts[inverse[i]]`."""
        shared_names: list[tuple[RowName, ...]] = [()] * len(firsts)
        for name, number in zip(self.position.rows.names, inverse, strict=True):
            shared_names[number] += (name,)
        return replace(self.select(firsts), shared_names=tuple(shared_names))
