"""reference: a picture that the U-Net's own layers see, without a model file.

After sd-webui-controlnet's `reference_only`, `reference_adain` and `reference_adain+attn`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.fileless_params import REFERENCE
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.store import CachedValues
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.noise_level import Diffusion, NoiseSchedule

from .base import Target, UnitInputs, WithoutFile, note_share, require_no_preprocessor
from .holes import fitted
from .own_layers import Sharing

CHANNELS = (4, 9)  # input channels of a U-Net: the latent, for inpainting also a mask and a picture's latent


@dataclass(frozen=True, kw_only=True)
class ReferencePicture(WithoutFile):
    """The family for one checkpoint. `layers` is the number of its self attentions (16 on SD1.5)."""

    name: ClassVar[str] = "reference"
    title: ClassVar[str] = "Reference picture"
    params: ClassVar[tuple[Param, ...]] = REFERENCE

    layers: int

    @classmethod
    def built(cls, target: Target) -> ReferencePicture:
        """The control for a U-Net. Raises ModelError for a U-Net with other inputs than a latent."""
        if target.shape.in_channels not in CHANNELS:
            raise ModelError(
                f"the checkpoint's U-Net has {target.shape.in_channels} input channels: a reference picture "
                "acts on text-to-image and inpainting checkpoints"
            )
        return cls(layers=len(target.shape.attention_hidden))

    def prepare(self, job: UnitInputs, target: Target) -> PreparedReference:
        """The unit's control. Raises RequestError at the unit's fields."""
        require_no_preprocessor(job, "a reference picture")
        note_share(job, target, "a reference picture")
        if target.diffusion is None:
            raise RequestError(f"{job.path}.control", "it needs the checkpoint's VAE, and none is loaded")
        method = job.params["method"]
        if job.unit.layer_weights is not None and method == "adain":
            message = "are for self attention, and the method 'adain' does not act there: leave them out"
            raise RequestError(f"{job.path}.layer_weights", message)
        fidelity, own = (float(job.params[name]) for name in ("style_fidelity", "adain_fidelity"))
        attention = Sharing(coverage=float(job.params["attention_weight"]), fidelity=fidelity)
        adain = Sharing(coverage=float(job.params["adain_weight"]), fidelity=fidelity if own < 0 else own)
        sdxl = target.shape.family.name == "SDXL"
        return PreparedReference(
            job=job,
            kept=CachedValues(target.store),
            diffusion=target.diffusion,
            attention=Sharing() if method == "adain" else scaled(attention, sdxl=sdxl),
            adain=Sharing() if method == "attention" else scaled(adain, sdxl=sdxl),
        )


def scaled(sharing: Sharing, *, sdxl: bool) -> Sharing:
    """The sharing with the checkpoint's fidelity: on SDXL the cube, as in sd-webui-controlnet."""
    return Sharing(coverage=sharing.coverage, fidelity=sharing.fidelity ** (3 if sdxl else 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedReference:
    """One unit of a generation. Its latents are kept in the store."""

    job: UnitInputs
    kept: CachedValues
    diffusion: Diffusion
    attention: Sharing
    adain: Sharing
    picture_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "picture_key", (image_hash(self.job.picture), self.job.frame))

    def noise(self) -> NoiseSchedule:
        """The checkpoint's schedule."""
        return self.diffusion.noise()

    def prepare(self, height: int, width: int) -> None:
        """Encode the picture."""
        self.latent(height, width)

    def latent(self, height: int, width: int) -> Tensor:
        """The picture's latent [1, 4, h, w] at a latent's size, float32."""
        size = width * LATENT_FACTOR, height * LATENT_FACTOR

        def encoded() -> Tensor:
            return self.diffusion.encode(self.control_map(*size)).float()

        found: Tensor = self.kept(("latent", *self.diffusion.origin(), self.picture_key, *size), encoded)
        return found

    def control_map(self, width: int, height: int) -> Image.Image:
        """The picture at this size."""
        return fitted(self.job, self.job.picture, width, height)
