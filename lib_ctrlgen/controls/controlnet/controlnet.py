"""ControlNet: a copy of the U-Net's encoder with a control map as an additional input computes residuals.

Zhang, Rao and Agrawala 2023, Adding Conditional Control to Text-to-Image Diffusion Models.
Supported are versions 1.0 and 1.1 for SD1.x and SD2.x, and ControlNets of all sizes for SDXL.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lib_ctrlgen.controls.base import Target, UnitInputs, own_name
from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.controls.params import CONTROLNET
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.family import require_family

from .difference import base_mark
from .file import control_tensors, load_parts
from .network import ControlNetwork
from .prepared import PreparedControlNet

MEAN_OF_REGION = (
    "sd-webui-controlnet takes the mean of a Shuffle network's residuals inside the region, which CtrlGen "
    "does not repeat: leave the region out, or take CtrlGen's own semantics"
)
HOLE = -1.0  # the value of a control map in holes that inpainting ControlNets were trained with


@dataclass(frozen=True, kw_only=True)
class ControlNet(ControlNetwork):
    """A loaded ControlNet. `inpainting` is true if its file's name contains "inpaint"."""

    name: ClassVar[str] = "controlnet"
    title: ClassVar[str] = "ControlNet"
    params: ClassVar[tuple[Param, ...]] = CONTROLNET

    inpainting: bool = False

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> ControlNet:
        """Load a ControlNet for the target's U-Net, or return it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)

        def load_controlnet(path: Path) -> ControlNet:
            parts = load_parts(control_tensors(path, target, kind), path, target)
            return cls(**parts, inpainting="inpaint" in own_name(path))

        base: Hashable = base_mark(target.unet) if kind.variant == "difference" else None
        return target.store.get(path, load_controlnet, target.placement, target.shape, base, cls.name)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedControlNet:
        """Return the control of one unit. Raises RequestError at the unit's fields."""
        if self.pooled and job.unit.semantics is not None and job.unit.mask:
            raise RequestError(f"{job.path}.mask", MEAN_OF_REGION)
        return PreparedControlNet(model=self, map=ControlMap.of(job, target, HOLE, holes=self.holes(job)))

    def holes(self, job: UnitInputs) -> bool:
        """Whether the picture's transparent pixels are holes."""
        chosen = job.params["transparent"]
        fitting = self.inpainting or chain_of(job.unit.preprocessor).marks_holes
        return chosen == "holes" or (chosen == "auto" and fitting)
