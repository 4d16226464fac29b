"""What a control family provides: its parameters, loading, and preparing a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.images.canvas import ONE_PICTURE, Canvas, Crop, Frame
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.loading import working_dtype
from lib_ctrlgen.models.storage import CPU, Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stem_of
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.params import Param, Value
from lib_ctrlgen.request.reference import Reference
from lib_ctrlgen.request.spec import ControlUnit, Storage
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.noise_level import Diffusion

from .protocols import PreparedControl


@dataclass(frozen=True, kw_only=True)
class Target:
    """What controls are loaded for: the store to load from, the U-Net's shape, its device and dtype.

    `unet` is the U-Net itself, for controls that build on its weights or its layers; `diffusion` is
    what the rest of the checkpoint does, for those that act on what the U-Net predicts; `canvas` is what
    the host paints on; `notices` takes the warnings. `away` and `storage` say where and how the weights
    are between uses, see `Placement`.
    """

    store: ModelStore
    shape: UNetShape
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    unet: nn.Module | None = None
    diffusion: Diffusion | None = None
    canvas: Canvas = ONE_PICTURE
    away: bool = False
    storage: Storage = "auto"
    notices: Notices = field(default_factory=Notices)

    @property
    def placement(self) -> Placement:
        """The device and dtype in which a control's networks compute, and how their weights are stored."""
        dtype = working_dtype(self.dtype, self.device)
        return Placement(device=self.device, dtype=dtype, away=self.away, storage=self.storage)

    @property
    def base(self) -> nn.Module:
        """The U-Net itself. Raises ModelError where none is loaded."""
        if self.unet is None:
            raise ModelError("this control builds on the checkpoint's U-Net, and none is loaded")
        return self.unet


NO_PICTURE = "a unit needs a picture: choose one (in the API: base64 or a data URL), or switch the unit off"


@dataclass(frozen=True, kw_only=True)
class DecodedReference:
    """A further reference of a unit, and its JSON path; without a picture (RGB) where it is an embedding."""

    spec: Reference
    path: str
    picture: Image.Image | None = None


@dataclass(frozen=True, kw_only=True)
class UnitInputs:
    """One unit's checked inputs: its JSON path, its picture as RGB, and every parameter's value.

    `given` is None for a unit without a picture; `references` are the unit's further references, decoded.
    `deep` is the picture as brightness in 0..1 (Pillow's mode F) where it has more than 8 bits.
    `transparent` is white where the picture is to be painted anew: where it was transparent, or, of the
    host's own picture, under the host's mask; None where there is no hole. `colours` is the picture with the
    colours that it has there, if it has any. `crop` is the part that is painted. `before` is what the enabled
    unit right before became, for the same pictures.
    """

    unit: ControlUnit
    path: str
    given: Image.Image | None
    params: Mapping[str, Value]
    references: tuple[DecodedReference, ...] = ()
    deep: Image.Image | None = None
    transparent: Image.Image | None = None
    colours: Image.Image | None = None
    crop: Crop | None = None
    before: PreparedControl | None = None

    @property
    def picture(self) -> Image.Image:
        """The unit's picture. Raises RequestError for a unit without one."""
        if self.given is None:
            raise RequestError(f"{self.path}.image", NO_PICTURE)
        return self.given

    @property
    def frame(self) -> Frame:
        """How the unit's pictures are brought to a size."""
        return Frame(self.unit.resize_mode, self.crop)


class Control(Protocol):
    """A control family: one class per file. Its instances are loaded models."""

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """What a file of this family holds, by the names and shapes of its tensors; None for other files.

        Raises ModelError for a file of this family that is incomplete.
        """

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> Control:
        """Load a file of this kind for a U-Net. Raises ModelError, also for another checkpoint family."""

    @property
    def layers(self) -> int:
        """How many `layer_weights` a unit may have."""

    def prepare(self, job: UnitInputs, target: Target) -> PreparedControl:
        """Make one unit ready for a generation. Raises RequestError at the unit's fields."""


class FilelessControl(Control, Protocol):
    """A control family without a model file, such as one that acts through the checkpoint's own layers."""

    @classmethod
    def built(cls, target: Target) -> Control:
        """The control for a U-Net. Raises ModelError for a checkpoint on which it cannot act."""


def own_name(path: Path) -> str:
    """A model's own name in lower case: its file's, or, of a diffusers folder's weights, the folder's."""
    stem = stem_of(path) or path.stem
    return (path.parent.name if stem.startswith("diffusion_pytorch_model") else stem).lower()


def require_picture_unit(job: UnitInputs, control: str, others: str, advice: str) -> None:
    """Raise RequestError for settings that mean nothing to a control that sees the picture itself.

    `others` are the controls that have modes; `advice` ends the sentence on 'balanced'.
    """
    if job.unit.control_mode != "balanced":
        raise RequestError(
            f"{job.path}.control_mode",
            f"{job.unit.control_mode!r} is for {others}; {control} takes 'balanced'{advice}",
        )
    if job.unit.preprocessor != "none":
        message = f"{control} sees the picture itself: set 'none' instead of {job.unit.preprocessor!r}"
        raise RequestError(f"{job.path}.preprocessor", message)
