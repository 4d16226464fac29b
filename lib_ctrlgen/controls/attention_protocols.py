"""Further ways in which a prepared control acts on attention: by layer, by part, and by a LoRA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from lib_ctrlgen.models.offload import Weights
from lib_ctrlgen.unet.attention import LayerWeighting

from .protocols import AttentionControl


@dataclass(frozen=True)
class AttentionPart:
    """A part of a unit with keys and values of its own; it acts in its share of the picture.

    `share(height, width)` is a soft mask [1, 1, h, w] for a latent of this size; None: everywhere.
    """

    control: AttentionControl
    share: Callable[[int, int], Tensor] | None = None


@runtime_checkable
class LayeredControl(AttentionControl, Protocol):
    """An attention control with weights by layer, and keys and values that may change over the steps."""

    @property
    def weighting(self) -> LayerWeighting:
        """The weight of each cross attention."""

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        """What acts at this progress. A control is the same object as long as its keys and values are."""


class Lora(Protocol):
    """A LoRA of a U-Net's attention layers."""

    @property
    def weights(self) -> Weights:
        """Its weights, which `present()` brings to the device."""

    def pairs(self) -> Mapping[tuple[int, str], tuple[Tensor, Tensor]]:
        """Down [rank, in] and up [out, rank] by the number of an attention layer and q, k, v or out."""


@runtime_checkable
class LoraControl(Protocol):
    """A prepared control that brings a LoRA for the attention layers, which acts with it: FaceID."""

    @property
    def lora(self) -> Lora:
        """The LoRA; the same object for units that share it."""

    @property
    def lora_weight(self) -> float:
        """How strongly the LoRA acts while the unit acts, whatever the unit's weight."""
