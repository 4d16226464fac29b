"""The protocols of prepared controls, one for each way to act on a generation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.unet.attention import KeyValue
from lib_ctrlgen.unet.call import AttentionSite, UNetCall
from lib_ctrlgen.unet.linear_sites import InputSite
from lib_ctrlgen.unet.noise_level import NoiseSchedule
from lib_ctrlgen.unet.residuals import Residuals
from lib_ctrlgen.unet.row_factors import Factor

from .own_layers import AlignedControl, EncodingControl, PooledControl, ReferenceControl


@runtime_checkable
class MappedControl(Protocol):
    """A prepared control that can show the input of its network: a control map, or a reference picture."""

    def control_map(self, width: int, height: int) -> Image.Image:
        """The input of the network at this size in pixels, RGB."""


@runtime_checkable
class ResidualControl(MappedControl, Protocol):
    """A prepared control that adds residuals to the U-Net's skip connections, such as a ControlNet."""

    def residuals(self, call: UNetCall) -> Residuals:
        """The unweighted residuals for exactly the rows of `call`."""


class SharedNetwork(Protocol):
    """A network that can compute the residuals of several units in one call."""

    def together(self, parts: Sequence[Any]) -> list[Residuals]:
        """The unweighted residuals of each part, equal to those of a call with this part alone."""


@runtime_checkable
class BatchedControl(ResidualControl, Protocol):
    """A residual control that may share its network with other units, which then need only one call of it."""

    @property
    def model(self) -> SharedNetwork:
        """The network; the same object for all controls that share it."""

    def part(self, call: UNetCall) -> Any:
        """The network's inputs for the rows of `call`, of the network's own type."""


@runtime_checkable
class FusableControl(BatchedControl, Protocol):
    """A batched control whose network takes several control maps for one row: ControlNet Union."""

    def fused(self, members: Sequence[tuple[FusableControl, float]]) -> BatchedControl:
        """One control for several controls of one network, each with its weight; the result has weight 1."""


@runtime_checkable
class PartialControl(Protocol):
    """A control that may act on conditional rows only, whatever the unit's control mode."""

    @property
    def cond_only(self) -> bool:
        """Whether the control acts on conditional rows only."""


@runtime_checkable
class AttentionControl(Protocol):
    """A prepared control that adds keys and values to cross attention, such as an IP-Adapter."""

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """The keys and values for each of these cross attentions."""


@runtime_checkable
class FeatureControl(Protocol):
    """A prepared control that adds constant features to the encoder's hidden states: T2I-Adapter."""

    def features(self, height: int, width: int) -> tuple[Tensor, ...]:
        """The unweighted features [1, C_k, h_k, w_k] for a latent of this size, in the encoder's order."""


@dataclass(frozen=True)
class InputChange:
    """A change of the input x [B, N, C] of a linear layer.

    layer  the index of its layer weight
    of     computes the unweighted tensor that is added to x, with the shape of x
    """

    layer: int
    of: Callable[[Tensor], Tensor]


@runtime_checkable
class InputControl(MappedControl, Protocol):
    """A prepared control that changes the inputs of attention's linear layers: ControlNet-LLLite."""

    @property
    def layers(self) -> int:
        """The number of layer weights."""

    def present(self) -> AbstractContextManager[None]:
        """A context in which the control's weights are on the device; changes are only called inside it."""

    def changes(self, sites: Sequence[InputSite], size: tuple[int, int]) -> Mapping[str, InputChange]:
        """The change of each linear layer, by the layer's name, for a latent of this height and width."""


@runtime_checkable
class ContextControl(Protocol):
    """A prepared control that appends tokens to the text's on conditional rows: T2I's style adapter."""

    def extra_tokens(self) -> Tensor:
        """The tokens [1, T, X], unweighted."""


@runtime_checkable
class GatedControl(Protocol):
    """A prepared control with gated self-attention between self and cross attention: GLIGEN."""

    @property
    def layers(self) -> int:
        """How many layer weights there are: one per transformer block."""

    def present(self) -> AbstractContextManager[None]:
        """A context in which the control's weights are on the device, so that it can be called."""

    def objects_at(self, place: int) -> Tensor:
        """The objects as transformer block `place` attends to them, [2, T, C]: row 0 uncond, row 1 cond."""

    def gated(self, place: int, x: Tensor, objects: Tensor, weight: Factor) -> Tensor:
        """What is added to the hidden state x [B, N, C] of transformer block `place`, of the same shape.

        `objects` [B, T, C] are those of each row; `weight` multiplies both gates.
        """


@runtime_checkable
class PredictionControl(EncodingControl, Protocol):
    """A prepared control that changes the clean latent which the U-Net predicts, after each call.

    It acts on all rows, whatever the unit's control mode, because guidance would distort a change that is
    made on conditional or on unconditional rows only.
    """

    @property
    def restores(self) -> bool:
        """Whether it replaces parts of the prediction by a known latent; such controls act last."""

    def noise(self) -> NoiseSchedule:
        """The noise schedule of the checkpoint that is sampled."""

    def changed(self, denoised: Tensor, call: UNetCall) -> Tensor:
        """Return the predicted clean latent [B, 4, h, w] of the rows of `call`, changed in full, float32."""


@runtime_checkable
class FinishingControl(Protocol):
    """A prepared control that changes the finished pictures, if it acted in their last U-Net call."""

    def finished(self, picture: Image.Image) -> Image.Image:
        """Return the changed picture, RGB of the same size."""


@runtime_checkable
class InitialNoiseControl(Protocol):
    """A prepared control that adds its picture to the initial noise of a generation."""

    def changed_noise(self, noise: Tensor) -> Tensor:
        """Return the initial noise [B, 4, h, w] with the picture added."""


@runtime_checkable
class FurtherFiles(Protocol):
    """A prepared control that uses other model files beside that of `unit.model`."""

    @property
    def loaded(self) -> Mapping[str, str]:
        """`name [hash]` of each of these files, by the parameter of the unit that names the file."""


class PhraseEncoder(Protocol):
    """The checkpoint's own text encoder, for single phrases without the prompt's syntax."""

    def origin(self) -> Hashable:
        """A key of the text encoder that is loaded, to cache by."""

    def encode(self, text: str) -> Tensor:
        """CLIP's pooled output for a phrase alone, before the projection: [X], float32 on the CPU.

        Raises ModelError for a phrase of more tokens than the encoder takes.
        """


PreparedControl: TypeAlias = (
    ResidualControl
    | AttentionControl
    | FeatureControl
    | InputControl
    | ContextControl
    | GatedControl
    | PredictionControl
    | ReferenceControl
    | AlignedControl
    | PooledControl
    | FinishingControl
)
