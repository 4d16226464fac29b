"""ControlNet Union and ProMax for SDXL: one network for several types of control maps, also at once.

xinsir 2024, ControlNet++ (github.com/xinsir6/ControlNetPlus). A Union has two parts beside those of a
ControlNet: an embedding of the map types, added to the time embedding, and a shift of each hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.controls.assigned_map import AnyMap
from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.controls.params import UNION
from lib_ctrlgen.controls.protocols import FusableControl
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.family import require_family

from .file import control_tensors, load_parts
from .network import ControlNetwork, NetworkInputs
from .prepared import NetworkUnit
from .union_mixer import UnionMixer, load_mixer, union_tensors
from .union_types import AUTO, CHOICES, type_number

HOLE = 0.0  # the value of a control map in holes that ProMax was trained with: black


NO_TYPE = "a ControlNet Union must be told the type of its map (`union_control_type` in sd-webui-controlnet)"


@dataclass(frozen=True, kw_only=True)
class ControlNetUnion(ControlNetwork):
    """A loaded Union network, and the mixer that computes type embeddings and shifts."""

    name: ClassVar[str] = "controlnet_union"
    title: ClassVar[str] = "ControlNet Union"
    params: ClassVar[tuple[Param, ...]] = UNION

    mixer: UnionMixer
    mixer_weights: Weights

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> ControlNetUnion:
        """Load a Union for the target's U-Net, or return it from the store. Raises ModelError."""
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
        """Return the control of one unit. Raises RequestError at the unit's fields."""
        kind = self.kind(job)
        inpainting = kind == type_number("inpaint")
        shown = ControlMap.of(job, target, HOLE, holes=inpainting)
        return PreparedUnion(model=self, map=shown, kind=kind)

    def kind(self, job: UnitInputs) -> int:
        """The number of the unit's map type. Raises RequestError if it is unknown, or not in the file."""
        path = f"{job.path}.params.union_type"
        chosen = str(job.params["union_type"])
        if job.unit.semantics is not None:
            path, chosen = f"{job.path}.semantics.union_type", job.unit.semantics.union_type
            if not chosen:
                raise RequestError(path, f"{NO_TYPE}; choose one of: {', '.join(CHOICES[1:])}")
        named = chain_of(job.unit.preprocessor).union_type if chosen == AUTO else chosen
        if not named:
            raise RequestError(
                path,
                f"the preprocessor {job.unit.preprocessor_label!r} does not determine the type of the map; "
                f"choose one of: {', '.join(CHOICES[1:])}",
            )
        number = type_number(named)
        if number >= self.mixer.count:
            raise RequestError(path, f"'{job.unit.model}' has no type {named!r}: it needs a ProMax file")
        return number


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedUnion(NetworkUnit):
    """A Union with one unit's control map. `kind` is the number of the map's type."""

    model: ControlNetUnion
    map: AnyMap
    kind: int

    def part(self, call: UNetCall) -> NetworkInputs:
        """The network's inputs for exactly the rows of `call`."""
        hint = self.model.hint(self.map, call.size)
        return NetworkInputs(
            call=call, hint=hint + self.shift(hint, *call.size), kinds=self.kinds([self.kind])
        )

    def shift(self, hint: Tensor, height: int, width: int, weight: float = 1.0) -> Tensor:
        """The shift [1, C, 1, 1] of the hint for a latent of this size; cached for each weight."""
        model = self.model

        def shifted() -> Tensor:
            with model.mixer_weights.present():
                return model.mixer.shift(hint, self.kind, weight)

        size = width * model.factor, height * model.factor
        key = ("shift", *model.origin, model.like.dtype, model.like.device, self.map.hole, self.kind, weight)
        found: Tensor = self.map.kept((*key, *self.map.key(*size)), shifted)
        return found

    def kinds(self, numbers: Sequence[int]) -> Tensor:
        """The addition [1, E] to the time embedding for maps of these types; cached."""
        model = self.model

        def embedded() -> Tensor:
            with model.mixer_weights.present():
                return model.mixer.kinds(numbers)

        key = ("kinds", *model.origin, model.like.dtype, model.like.device, *numbers)
        found: Tensor = self.map.kept(key, embedded)
        return found

    def fused(self, members: Sequence[tuple[FusableControl, float]]) -> FusedUnion:
        """One control for several units of this network, each with its weight."""
        own = [(member, weight) for member, weight in members if isinstance(member, PreparedUnion)]
        return FusedUnion(model=self.model, members=tuple(own))

    def control_map(self, width: int, height: int) -> Image.Image:
        """The unit's control map at this size in pixels, RGB."""
        return self.map.shown(width, height)


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedUnion(NetworkUnit):
    """Several units of a Union in one call of the network, each with its map type and weight.

    As in diffusers, the weights multiply the hints, and the residuals are used with weight 1.
    """

    model: ControlNetUnion
    members: tuple[tuple[PreparedUnion, float], ...]

    def part(self, call: UNetCall) -> NetworkInputs:
        """The network's inputs for exactly the rows of `call`."""
        hints = torch.cat([self.weighted(*member, call) for member in self.members])
        kinds = self.members[0][0].kinds([member.kind for member, _ in self.members])
        return NetworkInputs(call=call, hint=hints.sum(0, keepdim=True), kinds=kinds)

    def weighted(self, member: PreparedUnion, weight: float, call: UNetCall) -> Tensor:
        """A member's part of the hint [1, C, h, w]; its weight is applied twice, as in diffusers."""
        hint = self.model.hint(member.map, call.size)
        return weight * (hint + member.shift(hint, *call.size, weight))

    def control_map(self, width: int, height: int) -> Image.Image:
        """The control map of the first member."""
        return self.members[0][0].control_map(width, height)
