"""One U-Net invocation, as controls see it, and the shape of the U-Net that is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError

FAMILY_BY_CONTEXT = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}
LATENT_FACTOR = 8


@dataclass(frozen=True)
class Family:
    """The family of a checkpoint or of a control for it, told by the width of the text features."""

    name: str
    context_dim: int

    @staticmethod
    def of(context_dim: int) -> Family:
        """SD1.5 (768), SD2 (1024), SDXL (2048), or `custom` for any other width."""
        return Family(FAMILY_BY_CONTEXT.get(context_dim, "custom"), context_dim)

    def __str__(self) -> str:
        return f"{self.name} (context {self.context_dim})"


def require_family(control: Family, checkpoint: Family, name: str) -> None:
    """Raise ModelError, naming both, unless the control was made for the checkpoint's family."""
    if control != checkpoint:
        raise ModelError(
            f"'{name}' is for {control}, but the loaded checkpoint is {checkpoint}: "
            "choose a control or a checkpoint of the same family"
        )


@dataclass(frozen=True)
class FeaturePlace:
    """A hidden state of the encoder: its channels, and latent cells per cell of it along a side."""

    channels: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class UNetShape:
    """What a control must fit.

    residual_channels  channels of the encoder's outputs in order, then of the mid block
                       (13 numbers on SD1.5, 10 on SDXL)
    residual_strides   how many cells of the latent along a side one place of each of them stands for
    attention_hidden   width of each cross attention in checkpoint order: down, up, mid
                       (16 on SD1.5, 70 on SDXL)
    heads              attention heads of each of these layers
    feature_places     where features are added: one per level, then the mid block
    """

    family: Family
    in_channels: int
    residual_channels: tuple[int, ...]
    residual_strides: tuple[int, ...]
    attention_hidden: tuple[int, ...]
    heads: tuple[int, ...]
    feature_places: tuple[FeaturePlace, ...]

    def residual_sizes(self, height: int, width: int) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of every residual for a latent of this size, the mid block's last."""
        return tuple(
            (channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(self.residual_channels, self.residual_strides, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One cross attention: `to_q`, `to_k`, `to_v` give query, keys and values; `to_out` is the last layer."""

    name: str
    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    to_out: nn.Module
    heads: int
    hidden: int


def repetitions(values: Sequence[Hashable]) -> tuple[int, ...]:
    """For each value how many equal ones come before it.

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
    """What selects these rows of a tensor: a slice, so a view, where they follow each other."""
    if rows and tuple(rows) == tuple(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return list(rows)


class RowName(NamedTuple):
    """What a row is, the same in every step: `nth` tells apart those that are alike otherwise (`AND`)."""

    cond: bool
    image: int
    concept: int
    nth: int


@dataclass(frozen=True)
class Rows:
    """For each row of a batch: whether it is conditional, which image it belongs to, and which concept.

    Without a blend all belong to concept 0, and `concept` may be left out; `nth` too, where a step has
    one call: how many rows of the step that are alike in the rest come before.
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
        """Only these rows, in this order."""
        return Rows(
            tuple(self.cond[i] for i in rows),
            tuple(self.image[i] for i in rows),
            tuple(self.concept[i] for i in rows),
            tuple(self.nth[i] for i in rows),
        )

    @property
    def names(self) -> tuple[RowName, ...]:
        """What each row is."""
        return tuple(map(RowName, self.cond, self.image, self.concept, self.nth))

    def of_concept(self, concept: int) -> tuple[bool, ...]:
        """For each row whether it is a conditional one of this concept."""
        return tuple(cond and own == concept for cond, own in zip(self.cond, self.concept, strict=True))


@dataclass(frozen=True)
class Position:
    """Where a call stands: step `step` of `steps`, with these rows. Progress is `step / steps`.

    `hires` says that this is the WebUI's second pass, whose steps count from 0 again. `copies` says how often
    the context of a conditional row holds each token of its text.
    """

    step: int
    steps: int
    rows: Rows
    hires: bool = False
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class CallInputs:
    """What the host gave the U-Net.

    x [B, C, h, w]; timestep [B]; context [B, T, X]; added: SDXL's vector and the like.
    """

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: Mapping[str, Any] = field(default_factory=dict)

    def select(self, rows: Sequence[int]) -> CallInputs:
        """Only these rows, in this order."""
        index = row_index(rows)
        added = {
            key: value[index] if isinstance(value, Tensor) else value for key, value in self.added.items()
        }
        return CallInputs(
            x=self.x[index], timestep=self.timestep[index], context=self.context[index], added=added
        )


@dataclass(frozen=True, kw_only=True)
class UNetCall:
    """One U-Net invocation: its inputs, where it stands, and the U-Net that is called, if one is.

    `twins` are the names of the rows that each row stands for, where it does for more than itself.
    """

    inputs: CallInputs
    position: Position
    unet: nn.Module | None = None
    twins: tuple[tuple[RowName, ...], ...] = ()

    @property
    def names(self) -> tuple[tuple[RowName, ...], ...]:
        """The names of the rows that each row stands for."""
        return self.twins or tuple((name,) for name in self.position.rows.names)

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
        """Only these rows; the call itself when they are all of them."""
        if tuple(rows) == tuple(range(self.batch)):
            return self
        position = replace(self.position, rows=self.position.rows.select(rows))
        twins = tuple(self.twins[row] for row in rows) if self.twins else ()
        return replace(self, inputs=self.inputs.select(rows), position=position, twins=twins)

    def shared(self, inverse: Sequence[int], firsts: Sequence[int]) -> UNetCall:
        """Only `firsts`, each of which stands for all rows that have its number in `inverse`."""
        twins: list[tuple[RowName, ...]] = [()] * len(firsts)
        for name, number in zip(self.position.rows.names, inverse, strict=True):
            twins[number] += (name,)
        return replace(self.select(firsts), twins=tuple(twins))
