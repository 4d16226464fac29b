"""The protocol of a control family, and the types that it works with: `Target` and `UnitInputs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.images.canvas import ONE_PICTURE, Canvas, Crop, Frame
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.loading import working_dtype
from lib_ctrlgen.models.storage import CPU, Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stem_of
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.params import Param, Value
from lib_ctrlgen.request.progress import SILENT, Progress
from lib_ctrlgen.request.reference import Reference
from lib_ctrlgen.request.spec import ControlUnit, Storage
from lib_ctrlgen.request.unit import NO_PREPROCESSOR
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.noise_level import Diffusion

from .protocols import PhraseEncoder, PreparedControl


@dataclass(frozen=True, kw_only=True)
class Target:
    """The checkpoint and the generation that controls are loaded for.

    store      caches models, and finds them in the model folders
    shape      the shape of the U-Net
    device, dtype  where and in which number format the U-Net computes
    unet       the U-Net itself, for controls that use its weights or its layers
    diffusion  the checkpoint's VAE and noise schedule, for controls that change the predicted latent
    phrases    the checkpoint's text encoder, for controls that read texts
    canvas     the area that is generated
    away, storage  where and in which number format weights are kept between uses, see `Placement`
    notices    collects the warnings of the generation
    progress   shows which unit is being loaded, and says when the user stopped that
    """

    store: ModelStore
    shape: UNetShape
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    unet: nn.Module | None = None
    diffusion: Diffusion | None = None
    phrases: PhraseEncoder | None = None
    canvas: Canvas = ONE_PICTURE
    away: bool = False
    storage: Storage = "auto"
    notices: Notices = field(default_factory=Notices)
    progress: Progress = SILENT

    @property
    def placement(self) -> Placement:
        """The device and dtype in which a control's networks compute, and how their weights are stored."""
        dtype = working_dtype(self.dtype, self.device)
        return Placement(device=self.device, dtype=dtype, away=self.away, storage=self.storage)

    @property
    def base(self) -> nn.Module:
        """The U-Net itself. Raises ModelError if none is loaded."""
        if self.unet is None:
            raise ModelError("this control needs the checkpoint's U-Net, and none is loaded")
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
    """The checked inputs of one unit, or of a part of it that has a picture of its own.

    path         the unit's JSON path
    given        the picture, RGB, with white for transparent pixels; None for a unit without one
    references   the unit's further references, decoded
    params       the value of every parameter
    pose         the pose, where the unit has one instead of a picture; `given` is then its drawing
    deep         the picture as brightness in 0..1 (Pillow's mode F); None if it has at most 8 bits
    transparent  white in the picture's holes: its transparent pixels, or for the img2img picture the area of
                 the inpainting mask; None without holes
    colours      the picture with the colours that its transparent pixels have; None if it has none
    crop         the part of the init picture that is generated, see `Crop`
    before       what the enabled unit right before became, for the same pictures
    """

    unit: ControlUnit
    path: str
    given: Image.Image | None
    params: Mapping[str, Value]
    references: tuple[DecodedReference, ...] = ()
    pose: Pose | None = None
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
        """How the unit's pictures are fitted to a size."""
        return Frame(self.unit.resize_mode, self.crop)


class Control(Protocol):
    """A control family. Each is one class in its own file; the instances of the class are loaded models."""

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a file of this family, from the names and shapes of its tensors; None for other files.

        Raises ModelError for a file of this family that is incomplete.
        """

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> Control:
        """Load a file of this kind for the target's U-Net.

        Raises ModelError for a broken file, or for one of another checkpoint family.
        """

    @property
    def layers(self) -> int:
        """The number of `layer_weights` that a unit may have."""

    def prepare(self, job: UnitInputs, target: Target) -> PreparedControl:
        """Return the control of one unit for a generation. Raises RequestError at the unit's fields."""


@runtime_checkable
class FaceControl(Protocol):
    """A control family that reads the identity embedding of a face."""

    @classmethod
    def face_pack(cls, kind: ModelKind, params: Mapping[str, Value], path: str) -> str:
        """The name of the model pack whose embeddings a file of this kind reads, with a unit's `params`.

        Raises RequestError below `path`, that of the parameters, where they contradict the file.
        """


class FilelessControl(Control, Protocol):
    """A control family without a model file, such as one that acts through the checkpoint's own layers."""

    @classmethod
    def built(cls, target: Target) -> Control:
        """The control for a U-Net. Raises ModelError for a checkpoint on which it cannot act."""


class WithoutFile:
    """The part of a control family without a model file that deals with files."""

    title: ClassVar[str]

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """None: no file is of this family."""
        del shapes
        return None

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> Control:
        """Raise ModelError: no file is of this family."""
        del path, kind, target
        raise ModelError(f"{cls.title} has no model file")


def own_name(path: Path) -> str:
    """The name of a model's file in lower case; for the weights of a diffusers folder, the folder's name."""
    stem = stem_of(path) or path.stem
    return (path.parent.name if stem.startswith("diffusion_pytorch_model") else stem).lower()


def require_picture_unit(job: UnitInputs, control: str, others: str, advice: str) -> None:
    """Raise RequestError if a unit with a reference picture has a control mode or a preprocessor.

    `control` and `others` name this control, and those that have modes, in the error; `advice` is appended.
    """
    if job.unit.control_mode != "balanced":
        raise RequestError(
            f"{job.path}.control_mode",
            f"{job.unit.control_mode!r} is for {others}; {control} takes 'balanced'{advice}",
        )
    require_no_preprocessor(job, control)


def require_no_preprocessor(job: UnitInputs, control: str) -> None:
    """Raise RequestError for a unit with a preprocessor, whose control map its control would not read."""
    chosen = job.unit.preprocessor_label
    if chosen != NO_PREPROCESSOR:
        message = f"{control} sees the picture itself: set 'none' instead of {chosen!r}"
        raise RequestError(f"{job.path}.preprocessor", message)


def note_share(job: UnitInputs, target: Target, control: str) -> None:
    """Warn of weights outside 0..1, for a control that blends the results without and with it."""
    for name, schedule in (("weight", job.unit.weight), ("hires", job.unit.hires)):
        if schedule is not None and not 0 <= schedule.bounds[0] <= schedule.bounds[1] <= 1:
            message = f"{control} acts from 0 (not at all) to 1: lower weights count as 0, higher ones as 1"
            target.notices.add(f"{job.path}.{name}", message)


def require_balanced(job: UnitInputs, control: str) -> None:
    """Raise RequestError for a unit with another mode than 'balanced', for a control without modes."""
    if job.unit.control_mode != "balanced":
        message = f"{control} has no modes: set 'balanced' instead of {job.unit.control_mode!r}"
        raise RequestError(f"{job.path}.control_mode", message)
