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

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.controls.params import UNION
from lib_ctrlgen.controls.protocols import FusableControl
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import UNetCall, require_family

from .file import control_tensors, load_parts
from .network import ControlNetwork, NetworkInputs
from .prepared import NetworkUnit
from .union_mixer import UnionMixer, load_mixer, union_tensors
from .union_types import AUTO, CHOICES, type_number

HOLE = 0.0  # what ProMax sees where it is to paint: black


@dataclass(frozen=True, kw_only=True)
class ControlNetUnion(ControlNetwork):
    """A loaded Union network and what shifts its hints."""

    name: ClassVar[str] = "controlnet_union"
    title: ClassVar[str] = "ControlNet Union"
    params: ClassVar[tuple[Param, ...]] = UNION

    mixer: UnionMixer
    mixer_weights: Weights

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> ControlNetUnion:
        """Load a Union for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)

        def load_controlnet_union(path: Path) -> ControlNetUnion:
            own, plain = union_tensors(control_tensors(path, target, kind))
            parts = load_parts(plain, path, target)
            parts["network"].class_embedding = nn.Identity()
            mixer = load_mixer(own, parts["network"], path, target)
            weights = placed([mixer], target.placement, path.stem)
            return cls(**parts, mixer=mixer, mixer_weights=weights)

        return target.store.get(path, load_controlnet_union, target.placement, target.shape)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedUnion:
        """Make one unit ready. Raises RequestError at the unit's fields."""
        kind = self.kind(job)
        inpainting = kind == type_number("inpaint")
        shown = ControlMap.of(job, target, HOLE, holes=inpainting)
        return PreparedUnion(model=self, map=shown, kind=kind)

    def kind(self, job: UnitInputs) -> int:
        """The number of the unit's type. Raises RequestError for one that is unknown or not in the file."""
        path = f"{job.path}.params.union_type"
        chosen = str(job.params["union_type"])
        named = preprocessor(job.unit.preprocessor).union_type if chosen == AUTO else chosen
        if not named:
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
class PreparedUnion(NetworkUnit):
    """One unit of a Union: a map and its type."""

    model: ControlNetUnion
    map: ControlMap
    kind: int

    def part(self, call: UNetCall) -> NetworkInputs:
        """What the network reads for exactly the rows of `call`."""
        hint = self.model.hint(self.map, call.size)
        return NetworkInputs(
            call=call, hint=hint + self.shift(hint, *call.size), kinds=self.kinds([self.kind])
        )

    def shift(self, hint: Tensor, height: int, width: int, weight: float = 1.0) -> Tensor:
        """What is added to the hint of a latent's size [1, C, 1, 1]; computed once for each weight."""
        model = self.model

        def shifted() -> Tensor:
            with model.mixer_weights.present():
                return model.mixer.shift(hint, self.kind, weight)

        size = width * model.factor, height * model.factor
        key = ("shift", *model.origin, model.like.dtype, model.like.device, self.map.hole, self.kind, weight)
        found: Tensor = self.map.kept((*key, *self.map.key(*size)), shifted)
        return found

    def kinds(self, numbers: Sequence[int]) -> Tensor:
        """What is added to the time when maps of these types are given [1, E]; computed once."""
        model = self.model

        def embedded() -> Tensor:
            with model.mixer_weights.present():
                return model.mixer.kinds(numbers)

        key = ("kinds", *model.origin, model.like.dtype, model.like.device, *numbers)
        found: Tensor = self.map.kept(key, embedded)
        return found

    def fused(self, members: Sequence[tuple[FusableControl, float]]) -> FusedUnion:
        """One control for several units of this network."""
        own = [(member, weight) for member, weight in members if isinstance(member, PreparedUnion)]
        return FusedUnion(model=self.model, members=tuple(own))

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the network sees: the picture fitted to the size, then preprocessed. RGB."""
        return self.map.shown(width, height)


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedUnion(NetworkUnit):
    """Several maps in one pass, each with its type and weight.

    As in diffusers the weights are on the maps then, and no longer on the residuals.
    """

    model: ControlNetUnion
    members: tuple[tuple[PreparedUnion, float], ...]

    def part(self, call: UNetCall) -> NetworkInputs:
        """What the network reads for exactly the rows of `call`."""
        hints = torch.cat([self.weighted(*member, call) for member in self.members])
        kinds = self.members[0][0].kinds([member.kind for member, _ in self.members])
        return NetworkInputs(call=call, hint=hints.sum(0, keepdim=True), kinds=kinds)

    def weighted(self, member: PreparedUnion, weight: float, call: UNetCall) -> Tensor:
        """What a map adds to the hint [1, C, h, w]: the network sees its weight twice, as in diffusers."""
        hint = self.model.hint(member.map, call.size)
        return weight * (hint + member.shift(hint, *call.size, weight))

    def control_map(self, width: int, height: int) -> Image.Image:
        """The control map of the first member."""
        return self.members[0][0].control_map(width, height)
