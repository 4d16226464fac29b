"""The protocols of controls without a network, which act through the checkpoint's own layers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from lib_ctrlgen.unet.noise_level import NoiseSchedule


@runtime_checkable
class EncodingControl(Protocol):
    """A prepared control that needs pictures as latents."""

    def prepare(self, height: int, width: int) -> None:
        """Encode the pictures that it needs for a latent of this size; called before sampling."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How far a reference picture acts on one kind of layer.

    coverage  how many of the layers; 0 is none. The effect says which come first
    fidelity  0..1: the part of unconditional rows that stays as it is without the picture
    """

    coverage: float = 0.0
    fidelity: float = 0.0


@runtime_checkable
class ReferenceControl(EncodingControl, Protocol):
    """A prepared control that lets the U-Net see a reference picture, as reference_only does."""

    def control_map(self, width: int, height: int) -> Image.Image:
        """The picture at this size in pixels."""

    @property
    def attention(self) -> Sharing:
        """How the picture acts on self attention."""

    @property
    def adain(self) -> Sharing:
        """How the picture acts on the mean and variance of whole blocks."""

    @property
    def picture_key(self) -> Hashable:
        """Equal for controls with equal latents, which share the reference calls."""

    def noise(self) -> NoiseSchedule:
        """The noise schedule of the checkpoint that is sampled."""

    def latent(self, height: int, width: int) -> Tensor:
        """The picture's clean latent [1, 4, h, w], float32."""


@runtime_checkable
class AlignedControl(Protocol):
    """A prepared control that aligns the pictures of a batch with their first one: StyleAligned."""

    @property
    def pictures(self) -> int:
        """How many consecutive pictures are aligned with the first one of them."""

    @property
    def score_scale(self) -> float:
        """The factor of the first picture's keys."""

    @property
    def score_shift(self) -> float:
        """What is added to the attention logits of the first picture's keys."""

    @property
    def only_self_level(self) -> float:
        """The share 0..1 of self attentions that are left alone."""

    @property
    def shares_norms(self) -> bool:
        """Whether group norms count the first picture's numbers too."""


@runtime_checkable
class PooledControl(Protocol):
    """A prepared control that takes the place of the pooled text in SDXL's vector: ReVision."""

    @property
    def ignores_prompt(self) -> bool:
        """Whether the text has no effect on the rows on which the control acts."""

    def embedding(self) -> Tensor:
        """The image embedding [1, P], unweighted."""
