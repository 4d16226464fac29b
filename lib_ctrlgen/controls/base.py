"""What a control family provides: its parameters, loading, and preparing a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.calls import UNetShape
from lib_ctrlgen.checkpoints import ModelKind, identify, read_header
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.params import Param, Value
from lib_ctrlgen.spec import ControlUnit, Storage
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.units import PreparedControl

from .loading import working_dtype
from .placement import Placement


@dataclass(frozen=True, kw_only=True)
class Target:
    """What controls are loaded for: the store to load from, the U-Net's shape, its device and dtype.

    `unet` is the U-Net itself, for controls that build on its weights or its layers. `away` and `storage`
    say where and how the weights are between uses, see `Placement`.
    """

    store: ModelStore
    shape: UNetShape
    device: torch.device
    dtype: torch.dtype
    unet: nn.Module | None = None
    away: bool = False
    storage: Storage = "auto"

    @property
    def placement(self) -> Placement:
        """Where and how the networks of a control compute, and are between uses."""
        dtype = working_dtype(self.dtype, self.device)
        return Placement(device=self.device, dtype=dtype, away=self.away, storage=self.storage)

    @property
    def base(self) -> nn.Module:
        """The U-Net itself. Raises ModelError where none is loaded."""
        if self.unet is None:
            raise ModelError("this control builds on the checkpoint's U-Net, and none is loaded")
        return self.unet


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit's checked inputs: its JSON path, its picture as RGB, and every parameter's value.

    `transparent` is white where the picture was transparent; None where it was nowhere.
    """

    unit: ControlUnit
    path: str
    picture: Image.Image
    params: Mapping[str, Value]
    transparent: Image.Image | None = None


class Control(Protocol):
    """A control family: one class per file. Its instances are loaded models."""

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    @classmethod
    def detect(cls, kind: ModelKind) -> bool:
        """Whether a file of this kind belongs to the family."""

    @classmethod
    def load(cls, path: Path, target: Target) -> Control:
        """Load a file for a U-Net. Raises ModelError, also when the family does not match."""

    @property
    def layers(self) -> int:
        """How many `layer_weights` a unit may have."""

    def prepare(self, job: Job, target: Target) -> PreparedControl:
        """Make one unit ready for a generation. Raises RequestError at the unit's fields."""


def identify_file(path: Path) -> ModelKind:
    """The kind of control in a file, from its header. Raises ModelError."""
    return identify(read_header(path))


def require_picture_unit(job: Job, control: str, others: str, advice: str) -> None:
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
