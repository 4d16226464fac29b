"""ReVision: SDXL's pooled text replaced by the image embedding of CLIP's vision encoder bigG.

Stability AI's ReVision, as in sd-webui-controlnet (`revision_clipvision`) and ComfyUI (`unCLIPConditioning`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.fileless_params import REVISION
from lib_ctrlgen.controls.params import IMAGE_ENCODER
from lib_ctrlgen.errors import ModelError, RequestError, at_path
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.clip_vision import EncoderFolder, VisionTower, find_encoder, load_tower
from lib_ctrlgen.request.params import Param

from .base import Target, UnitInputs, WithoutFile, require_balanced, require_no_preprocessor

WIDTH = 1280  # of SDXL's pooled text, and of bigG's image embedding
LEVELS = 1000
BETAS = 1e-4, 2e-2  # the first and the last of the linear noise schedule
SEED = 0x7265766973696F6E  # of the noise; the same for every generation


@dataclass(frozen=True, kw_only=True)
class ReVision(WithoutFile):
    """The family for one checkpoint. It has no layers to weigh."""

    name: ClassVar[str] = "revision"
    title: ClassVar[str] = "ReVision"
    params: ClassVar[tuple[Param, ...]] = REVISION

    @classmethod
    def built(cls, target: Target) -> ReVision:
        """The control for a U-Net. Raises ModelError for another checkpoint than an SDXL one."""
        if target.shape.family.name != "SDXL":
            raise ModelError(f"ReVision is for SDXL, and the loaded checkpoint is {target.shape.family}")
        return cls()

    @property
    def layers(self) -> int:
        """None of its layers can be weighed."""
        return 0

    def prepare(self, job: UnitInputs, target: Target) -> PreparedReVision:
        """Encode the picture (once, see the store). Raises RequestError at the unit's fields."""
        require_no_preprocessor(job, "ReVision")
        require_balanced(job, "ReVision")
        if job.unit.mask or job.unit.masks:
            name = "masks" if job.unit.masks else "mask"
            raise RequestError(f"{job.path}.{name}", "ReVision acts on the whole picture: leave the mask out")
        encoder = str(job.params["image_encoder"])
        with at_path(f"{job.path}.params.image_encoder" if encoder else f"{job.path}.control"):
            folder = find_encoder(target.store, "pooled", WIDTH, encoder)
            tower = load_tower(target.store, folder, target.placement)
        level = float(job.params["noise_augmentation"])
        return PreparedReVision(
            vector=noised(embedding(job.picture, folder, tower, target), level),
            ignores_prompt=bool(job.params["ignore_prompt"]),
            seen=tower.square(job.picture),
            loaded={IMAGE_ENCODER.name: folder.label(target.store)},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedReVision:
    """One unit of a generation: its embedding [1, 1280]. `seen` is what the vision encoder saw."""

    vector: Tensor
    ignores_prompt: bool
    seen: Image.Image
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def cond_only(self) -> bool:
        """Unconditional rows keep the negative prompt's pooled text."""
        return True

    def embedding(self) -> Tensor:
        """The image embedding [1, 1280] with its noise."""
        return self.vector

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the vision encoder saw, at its own size whatever the picture's."""
        del width, height
        return self.seen


def embedding(picture: Image.Image, folder: EncoderFolder, tower: VisionTower, target: Target) -> Tensor:
    """The image embedding [1, 1280] of a picture."""
    key = image_hash(picture), folder.weights, target.placement, "pooled"
    found: Tensor = target.store.cached(key, lambda: tower.feature(tower.pixels(picture), "pooled"))
    return found.float()


def noised(vector: Tensor, level: float) -> Tensor:
    """The embedding with noise of a level in 0..1; at level 0 as it is.

    q_sample at the timestep 1000 * level of a linear schedule of betas (Ho, Jain and Abbeel 2020), as in
    sd-webui-controlnet.
    """
    if level <= 0:
        return vector
    kept = (1 - torch.linspace(*BETAS, LEVELS, dtype=torch.float64)).cumprod(0)
    alpha = float(kept[min(int(level * LEVELS), LEVELS - 1)])
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(vector.shape, generator=generator).to(vector)
    return math.sqrt(alpha) * vector + math.sqrt(1 - alpha) * noise
