"""ControlNet Union and ProMax for SDXL: one network for many types of maps, several at once.

xinsir 2024, ControlNet++ (github.com/xinsir6/ControlNetPlus). What it has beside a ControlNet
is small: an embedding of the types, added to the time, and a shift of each hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.calls import UNetCall, require_family
from lib_ctrlgen.checkpoints import ModelKind
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.params import Param
from lib_ctrlgen.residuals import Residuals
from lib_ctrlgen.store import stamp
from lib_ctrlgen.units import FusableControl

from .base import Job, Target, identify_file
from .control_map import ControlMap
from .control_network import ControlNetwork, Part
from .controlnet_file import control_tensors, load_parts
from .loading import working_dtype
from .union_mixer import UnionMixer, load_mixer, union_tensors
from .union_types import AUTO, CHOICES, guess, type_number

HOLE = 0.0  # what ProMax sees where it is to paint: black


@dataclass(frozen=True, kw_only=True)
class ControlNetUnion(ControlNetwork):
    """A loaded Union network and what shifts its hints."""

    name: ClassVar[str] = "controlnet_union"
    title: ClassVar[str] = "ControlNet Union"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="union_type",
            label="Type of the map (auto: by the preprocessor)",
            kind="choice",
            default=AUTO,
            choices=CHOICES,
        ),
    )

    mixer: UnionMixer

    @classmethod
    def detect(cls, kind: ModelKind) -> bool:
        """Whether the file holds a Union."""
        return kind.control == cls.name

    @classmethod
    def load(cls, path: Path, target: Target) -> ControlNetUnion:
        """Load a Union for a U-Net, or take it from the store. Raises ModelError."""
        kind = target.store.get(path, identify_file)
        require_family(kind.family, target.shape.family, path.stem)

        def load_controlnet_union(path: Path) -> ControlNetUnion:
            own, plain = union_tensors(control_tensors(path, target, kind))
            parts = load_parts(plain, path, target)
            parts["network"].class_embedding = nn.Identity()
            return cls(**parts, origin=stamp(path), mixer=load_mixer(own, parts["network"], path, target))

        dtype = working_dtype(target.dtype, target.device)
        return target.store.get(path, load_controlnet_union, target.device, dtype, target.shape)

    def prepare(self, job: Job, target: Target) -> PreparedUnion:
        """Make one unit ready. Raises RequestError at the unit's fields."""
        kind = self.kind(job)
        inpainting = kind == type_number("inpaint")
        shown = ControlMap.of(job, target, HOLE, holes=inpainting)
        return PreparedUnion(model=self, map=shown, kind=kind)

    def kind(self, job: Job) -> int:
        """The number of the unit's type. Raises RequestError for one that is unknown or not in the file."""
        path = f"{job.path}.params.union_type"
        chosen = str(job.params["union_type"])
        named = guess(job.unit.preprocessor) if chosen == AUTO else chosen
        if named is None:
            raise RequestError(
                path,
                f"the preprocessor {job.unit.preprocessor!r} does not tell the type of the map; "
                f"say one of: {', '.join(CHOICES[1:])}",
            )
        number = type_number(named)
        if number >= self.mixer.count:
            raise RequestError(path, f"'{job.unit.model}' has no type {named!r}: that takes a ProMax file")
        return number


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedUnion:
    """One unit of a Union: a map and its type."""

    model: ControlNetUnion
    map: ControlMap
    kind: int

    def residuals(self, call: UNetCall) -> Residuals:
        """Raw residuals for exactly the rows of `call`: nine and the middle's, on SDXL."""
        (found,) = self.model.together([self.part(call)])
        return found

    def part(self, call: UNetCall) -> Part:
        """The same as a part of a call for several units."""
        hint, mixer = self.map.hint(self.model, *call.size), self.model.mixer
        return Part(call=call, hint=hint + mixer.shift(hint, self.kind), kinds=mixer.kinds([self.kind]))

    def fused(self, members: Sequence[tuple[FusableControl, float]]) -> FusedUnion:
        """One control for several units of this network."""
        own = [(member, weight) for member, weight in members if isinstance(member, PreparedUnion)]
        return FusedUnion(model=self.model, members=tuple(own))

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the network sees: the picture fitted to the size, then preprocessed. RGB."""
        return self.map.shown(width, height)


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedUnion:
    """Several maps in one pass, each with its type and weight.

    As in diffusers the weights are on the maps then, and no longer on the residuals.
    """

    model: ControlNetUnion
    members: tuple[tuple[PreparedUnion, float], ...]

    def residuals(self, call: UNetCall) -> Residuals:
        """The residuals of all maps together."""
        (found,) = self.model.together([self.part(call)])
        return found

    def part(self, call: UNetCall) -> Part:
        """The same as a part of a call for several units."""
        hints = torch.cat([self.weighted(*member, call) for member in self.members])
        kinds = self.model.mixer.kinds([member.kind for member, _ in self.members])
        return Part(call=call, hint=hints.sum(0, keepdim=True), kinds=kinds)

    def weighted(self, member: PreparedUnion, weight: float, call: UNetCall) -> Tensor:
        """What a map adds to the hint [1, C, h, w]: the network sees its weight twice, as in diffusers."""
        hint = member.map.hint(self.model, *call.size)
        return weight * (hint + self.model.mixer.shift(hint, member.kind, weight))

    def control_map(self, width: int, height: int) -> Image.Image:
        """The first one's."""
        return self.members[0][0].control_map(width, height)
