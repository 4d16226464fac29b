"""The ways in which a prepared control can act on a generation, one protocol for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.models.offload import Weights
from lib_ctrlgen.unet.attention import KeyValue, LayerWeighting
from lib_ctrlgen.unet.call import AttentionSite, UNetCall
from lib_ctrlgen.unet.linear_sites import InputSite
from lib_ctrlgen.unet.noise_level import NoiseSchedule
from lib_ctrlgen.unet.residuals import Residuals


@runtime_checkable
class MappedControl(Protocol):
    """A prepared control that can show what its network sees: a map, or a reference picture."""

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the network sees at this size in pixels."""


@runtime_checkable
class ResidualControl(MappedControl, Protocol):
    """A prepared control that adds to the U-Net's skip connections: ControlNet and its kin."""

    def residuals(self, call: UNetCall) -> Residuals:
        """The unweighted residuals for exactly the rows of `call`."""


class SharedNetwork(Protocol):
    """A network that can answer several units in one call."""

    def together(self, parts: Sequence[Any]) -> list[Residuals]:
        """The unweighted residuals of each part, each what it would be alone."""


@runtime_checkable
class BatchedControl(ResidualControl, Protocol):
    """A residual control whose network may be shared with others: one call of it for all of them."""

    @property
    def model(self) -> SharedNetwork:
        """The network: the same object for those that share it."""

    def part(self, call: UNetCall) -> Any:
        """The network's inputs for the rows of `call`, of the network's own type."""


@runtime_checkable
class FusableControl(BatchedControl, Protocol):
    """A batched control whose network takes several control maps for one row: ControlNet Union."""

    def fused(self, members: Sequence[tuple[FusableControl, float]]) -> BatchedControl:
        """One control for several of one network, each with its weight, which then acts with weight 1."""


@runtime_checkable
class PartialControl(Protocol):
    """A control that may act on conditional rows alone, whatever the unit's mode."""

    @property
    def cond_only(self) -> bool:
        """Whether the control acts on conditional rows only."""


@runtime_checkable
class AttentionControl(Protocol):
    """A prepared control that adds to cross attention: IP-Adapter and its kin."""

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values for each site."""


@dataclass(frozen=True)
class AttentionPart:
    """A part of a unit with keys and values of its own; it acts in its share of the picture.

    `share(height, width)` is a soft mask [1, 1, h, w] for a latent of this size; None: everywhere.
    """

    control: AttentionControl
    share: Callable[[int, int], Tensor] | None = None


@runtime_checkable
class ReferenceControl(AttentionControl, Protocol):
    """An attention control with weights by layer, and keys and values that may change over the steps."""

    @property
    def weighting(self) -> LayerWeighting:
        """The weight of each cross attention."""

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        """What acts at this progress. A control is the same object as long as its keys and values are."""


@runtime_checkable
class FeatureControl(Protocol):
    """A prepared control that adds to the encoder's hidden states, at every step the same: T2I-Adapter."""

    def features(self, height: int, width: int) -> tuple[Tensor, ...]:
        """The unweighted features [1, C_k, h_k, w_k] for a latent of this size, in the encoder's order."""


@dataclass(frozen=True)
class InputChange:
    """What a control adds to the input of a linear layer: `of(x)`, unweighted, shaped as x [B, N, C].

    `layer` is the number of its layer weight.
    """

    layer: int
    of: Callable[[Tensor], Tensor]


@runtime_checkable
class InputControl(MappedControl, Protocol):
    """A prepared control that changes what the linear layers of attention read: ControlNet-LLLite."""

    @property
    def layers(self) -> int:
        """How many layer weights there are."""

    def present(self) -> AbstractContextManager[None]:
        """A context in which the control's weights are on the device, so that the changes can be called."""

    def changes(self, sites: Sequence[InputSite], size: tuple[int, int]) -> Mapping[str, InputChange]:
        """The changes by the names of their sites, for a latent of this height and width."""


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


@runtime_checkable
class ContextControl(Protocol):
    """A prepared control that puts tokens behind the text's, on conditional rows: T2I's style adapter."""

    def extra_tokens(self) -> Tensor:
        """The tokens [1, T, X], unweighted."""


@runtime_checkable
class PredictionControl(Protocol):
    """A prepared control that changes the clean latent which the U-Net predicts, after each call.

    It acts on all rows, whatever the unit's mode: guidance would distort a change of one side.
    """

    @property
    def restores(self) -> bool:
        """Whether it puts a known latent in the prediction's place; such controls come after the others."""

    def noise(self) -> NoiseSchedule:
        """The schedule of the checkpoint that is called."""

    def prepare(self, height: int, width: int) -> None:
        """Encode what it needs for a latent of this size, before the U-Net is called."""

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """The clean latent [B, 4, h, w] of the rows of `call` at full weight, float32."""


@runtime_checkable
class FinishingControl(Protocol):
    """A prepared control that changes the finished pictures, if it acted in their last U-Net call."""

    def finished(self, picture: Image.Image) -> Image.Image:
        """The picture as it is to be, RGB of the same size."""


@runtime_checkable
class StartControl(Protocol):
    """A prepared control whose picture is in the noise that a generation begins with."""

    def started(self, noise: Tensor) -> Tensor:
        """The noise [B, 4, h, w] with the picture in it."""


@runtime_checkable
class FurtherFiles(Protocol):
    """A prepared control that uses more model files than the unit's."""

    @property
    def loaded(self) -> Mapping[str, str]:
        """`name [hash]` of each file, by the parameter of the unit that names the file."""


PreparedControl: TypeAlias = (
    ResidualControl
    | AttentionControl
    | FeatureControl
    | InputControl
    | ContextControl
    | PredictionControl
    | FinishingControl
)


def sees_picture(control: object) -> bool:
    """Whether a control looks at the unit's picture itself, so that it has no control map."""
    reads = isinstance(control, (AttentionControl, ContextControl))
    return reads and not isinstance(control, ResidualControl)  # InstantID is both and has a map
