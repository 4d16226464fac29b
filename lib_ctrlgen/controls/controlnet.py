"""ControlNet: residuals from a copy of the U-Net's encoder that also sees a control map.

Zhang, Rao and Agrawala 2023, Adding Conditional Control to Text-to-Image Diffusion Models.
The network is diffusers' `ControlNetModel`, unchanged, except that its hint encoder runs
once per picture and size instead of at every step.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lib_ctrlgen.calls import UNetCall, require_family
from lib_ctrlgen.checkpoints import ModelKind
from lib_ctrlgen.images import to_hint
from lib_ctrlgen.params import Param
from lib_ctrlgen.residuals import Residuals
from lib_ctrlgen.store import stamp

from .base import Job, Target, identify_file
from .controlnet_file import load_network
from .loading import working_dtype
from .pictures import PicturedUnit, picture_fields


@dataclass(frozen=True, kw_only=True)
class ControlNet:
    """A loaded network without its hint encoder, and the hint encoder."""

    name: ClassVar[str] = "controlnet"
    title: ClassVar[str] = "ControlNet"
    params: ClassVar[tuple[Param, ...]] = ()

    network: Any
    hint_encoder: nn.Module
    origin: tuple[Hashable, ...]  # the file

    @classmethod
    def detect(cls, kind: ModelKind) -> bool:
        """Whether the file holds a ControlNet."""
        return kind.control == cls.name

    @classmethod
    def load(cls, path: Path, target: Target) -> ControlNet:
        """Load a ControlNet for a U-Net, or take it from the store. Raises ModelError."""
        kind = target.store.get(path, identify_file)
        require_family(kind.family, target.shape.family, path.stem)

        def load_controlnet(path: Path) -> ControlNet:
            network = load_network(path, target.shape, target.device, target.dtype)
            hint_encoder = network.controlnet_cond_embedding
            network.controlnet_cond_embedding = nn.Identity()
            return cls(network=network, hint_encoder=hint_encoder, origin=stamp(path))

        dtype = working_dtype(target.dtype, target.device)
        return target.store.get(path, load_controlnet, target.device, dtype, target.shape)

    @property
    def layers(self) -> int:
        """Residuals per call: encoder outputs and the middle block (13 on SD1.5)."""
        return len(self.network.controlnet_down_blocks) + 1

    @property
    def factor(self) -> int:
        """Pixels of the control map per latent pixel: the hint encoder's strides (8)."""
        return math.prod(
            layer.stride[0] for layer in self.hint_encoder.modules() if isinstance(layer, nn.Conv2d)
        )

    def prepare(self, job: Job, target: Target) -> PreparedControlNet:
        """Make one unit ready. Raises RequestError at the unit's fields."""
        return PreparedControlNet(model=self, **picture_fields(job, target))

    def run(self, call: UNetCall, *args: Any, **options: Any) -> Any:
        """The network's own forward."""
        del call
        return self.network(*args, **options)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedControlNet(PicturedUnit):
    """One unit of a generation. Maps and hint embeddings are kept in the store, for later ones too."""

    model: ControlNet

    @property
    def like(self) -> Tensor:
        """A tensor of the network's own, of its dtype and on its device."""
        own: Tensor = self.model.network.controlnet_mid_block.weight
        return own

    def residuals(self, call: UNetCall) -> Residuals:
        """Raw residuals for exactly the rows of `call`: 12 x [B, C, h, w] and the middle, on SD1.5."""
        channels, inputs, like = self.model.network.config.in_channels, call.inputs, self.like
        down, mid = self.model.run(
            call,
            inputs.x[:, :channels].to(like),
            inputs.timestep.to(like.device),
            inputs.context.to(like),
            self.hint(*call.size),
            added_cond_kwargs=dict(inputs.added),
            return_dict=False,
        )
        return Residuals(tuple(down), mid)

    def hint(self, height: int, width: int) -> Tensor:
        """The embedding [1, C, h, w] of the control map for a latent of this size; rows share it."""
        like = self.like
        size = width * self.model.factor, height * self.model.factor

        def embedded() -> Tensor:
            found: Tensor = self.model.hint_encoder(to_hint(self.control_map(*size)).to(like))
            return found

        key = ("hint", *self.model.origin, like.dtype, like.device, *self.key(*size))
        hint: Tensor = self.kept(key, embedded)
        return hint
