"""Several preprocessors that are applied one after another to a unit's picture.

>>> chain = chain_of("canny | threshold")
>>> [param.name for param in chain.params]
['low_threshold', 'high_threshold', 'resolution', 'threshold']
>>> chain.values({"threshold": 9})[1]
{'threshold': 9}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.control_pictures import ControlPicture
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.images.resize import resample
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param, Value, check_params
from lib_ctrlgen.request.preprocessing import Preprocessing, label_of, stages_of

from .base import Comparison, Preprocessor
from .detection import WHOLE, Detection, found_by, params_of

if TYPE_CHECKING:
    import torch

    from lib_ctrlgen.models.store import ModelStore

Values = tuple[Mapping[str, Value], ...]
ALONE = "a hole is marked in the unit's own picture: {name!r} cannot be combined with other preprocessors"
LAST = (
    "{name!r} also acts after the U-Net, with the unit's own picture: put it behind the other preprocessors"
)
FIRST = "{name!r} reads a pose, not a control map: put it before the other preprocessors"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One preprocessor of a chain, the parameters that only it is given, and their JSON path."""

    preprocessor: Preprocessor
    given: Mapping[str, Value]
    path: str

    @property
    def params(self) -> tuple[Param, ...]:
        """The preprocessor's parameters, with `resolution` if it detects something."""
        return params_of(self.preprocessor)


@dataclass(frozen=True)
class PreprocessorChain:
    """The preprocessors of a unit, in the order in which they are applied; mostly there is only one.

    A parameter that a single stage has may be among the unit's `params`. Of a parameter that several stages
    have, each stage has its own value.
    """

    stages: tuple[Stage, ...]

    @property
    def label(self) -> str:
        """The names of the preprocessors, such as `canny | invert`."""
        return label_of(tuple(each.name for each in self.preprocessors))

    @property
    def preprocessors(self) -> tuple[Preprocessor, ...]:
        """The preprocessors without their parameters."""
        return tuple(stage.preprocessor for stage in self.stages)

    @property
    def is_none(self) -> bool:
        """Whether the picture is the control map as it is."""
        return all(each.name == "none" for each in self.preprocessors)

    @property
    def detects(self) -> bool:
        """Whether a preprocessor detects something."""
        return any(each.detects for each in self.preprocessors)

    @property
    def reads_pose(self) -> bool:
        """Whether the unit's picture is a pose in OpenPose JSON."""
        return self.preprocessors[0].reads_pose

    @property
    def marks_holes(self) -> bool:
        """Whether the picture's transparent area is a hole."""
        return any(each.marks_holes for each in self.preprocessors)

    @property
    def after_unet(self) -> str:
        """The class of the control that acts after the U-Net; empty if there is none."""
        return self.preprocessors[-1].after_unet

    @property
    def union_type(self) -> str:
        """The map type of the last preprocessor that has one."""
        return next((each.union_type for each in reversed(self.preprocessors) if each.union_type), "")

    @cached_property
    def shared(self) -> frozenset[str]:
        """The names of the parameters that several stages have."""
        names = Counter(param.name for stage in self.stages for param in stage.params)
        return frozenset(name for name, count in names.items() if count > 1)

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters that a unit's `params` may hold for the chain: those that a single stage has."""
        every = (param for stage in self.stages for param in stage.params)
        return tuple(param for param in every if param.name not in self.shared)

    def values(self, params: Mapping[str, Any]) -> Values:
        """The values of every parameter of each stage. `params` are the unit's. Raises RequestError."""
        return tuple(
            check_params({**_shared_out(stage, params, self.shared), **stage.given}, stage.params, stage.path)
            for stage in self.stages
        )

    def checked(self, params: Mapping[str, Value], others: Sequence[Param], path: str) -> dict[str, Value]:
        """The value of every parameter of a unit: of the chain, and of the control (`others`).

        `path` is the JSON path of `params`. Where several stages have a parameter, the last one's value is
        returned. Raises RequestError.
        """
        for name in params:
            if name in self.shared:
                owners = " and ".join(s.preprocessor.name for s in self.stages if _has(s, name))
                message = (
                    f"{owners} have this parameter: give it to one of them, in a list of preprocessors: "
                )
                example = f'[{{"name": {self.preprocessors[0].name!r}, "params": {{...}}}}, ...]'
                raise RequestError(f"{path}.{name}", message + example.replace("'", '"'))
            twice = next((stage for stage in self.stages if name in stage.given), None)
            if twice is not None:
                raise RequestError(f"{twice.path}.{name}", f"the unit's params have {name!r}, too")
        found = check_params(params, (*self.params, *others), path)
        for values in self.values(params):
            found |= values
        return found

    def require_order(self, path: str) -> None:
        """Raise RequestError at `path` for preprocessors that do not fit together in this order."""
        for place, each in enumerate(self.preprocessors):
            if each.marks_holes and len(self.stages) > 1:
                raise RequestError(path, ALONE.format(name=each.name))
            if each.after_unet and place < len(self.stages) - 1:
                raise RequestError(path, LAST.format(name=each.name))
            if each.reads_pose and place > 0:
                raise RequestError(path, FIRST.format(name=each.name))

    def require_readable(self, picture: ControlPicture, path: str) -> None:
        """Raise RequestError at `path` for a picture where a pose is read, or the other way round."""
        first, is_pose = self.preprocessors[0], isinstance(picture, Pose)
        if first.reads_pose and not is_pose:
            message = f"{first.name!r} draws a pose in OpenPose JSON, and this is a picture"
            raise RequestError(path, message)
        if is_pose and not first.reads_pose:
            message = f"is a pose in OpenPose JSON, which {first.name!r} cannot read: set the preprocessor "
            raise RequestError(path, message + "'openpose_json', which draws it")
        if isinstance(picture, Pose) and self.after_unet:
            raise RequestError(path, f"{self.preprocessors[-1].name!r} needs a picture, and this is a pose")

    def compared(self, params: Mapping[str, Any]) -> Compared | None:
        """The part of the chain whose maps the tuner compares; None if it cannot compare any.

        The part ends with the last preprocessor that says how its maps are compared. `params` are the unit's.
        """
        values = self.values(params)
        for place, each in reversed(tuple(enumerate(self.preprocessors))):
            if each.compared is not None and not self.preprocessors[0].reads_pose:
                part = replace(self, stages=self.stages[: place + 1])
                return Compared(chain=part, values=values[: place + 1], how=each.compared)
        return None

    def with_store(self, store: ModelStore) -> PreprocessorChain:
        """The chain with the store that its models are loaded from."""
        stages = (replace(s, preprocessor=s.preprocessor.with_store(store)) for s in self.stages)
        return replace(self, stages=tuple(stages))

    def on(self, device: torch.device | str) -> PreprocessorChain:
        """The chain with the device that its networks run on."""
        stages = (replace(s, preprocessor=s.preprocessor.on(device)) for s in self.stages)
        return replace(self, stages=tuple(stages))

    def offloaded(self, away: bool) -> PreprocessorChain:
        """The chain with or without keeping weights in the CPU's memory between uses (`low_vram`)."""
        stages = (replace(s, preprocessor=s.preprocessor.offloaded(away)) for s in self.stages)
        return replace(self, stages=tuple(stages))

    def found(
        self, picture: ControlPicture, frame: Frame, size: tuple[int, int], values: Values
    ) -> Detection:
        """The control map of a picture at a size (width, height) in pixels, and the pose in it.

        The first preprocessor reads the fitted picture, each other one the map of the one before it.
        Raises ModelError, or RequestError.
        """
        first, *others = zip(self.preprocessors, values, strict=True)
        found = found_by(first[0], picture, frame, size, first[1])
        for each, own in others:
            again = found_by(each, found.map, WHOLE, size, own, resize=resample)
            found = Detection(again.map, again.pose or found.pose)
        return found

    def key(self, values: Values) -> tuple[Hashable, ...]:
        """The part of a cache key that stands for the chain with these values."""
        return (self.label, tuple(tuple(sorted(each.items())) for each in values))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Preprocessors with their parameters, and how the tuner compares the last one's maps."""

    chain: PreprocessorChain
    values: Values
    how: Comparison


def chain_of(given: Preprocessing, path: str = "$.preprocessor") -> PreprocessorChain:
    """The chain that a unit's `preprocessor` names; `path` is the JSON path of this field.

    Raises RequestError at `path` for unknown names and for a wrong order.
    """
    named, listed = stages_of(given), not isinstance(given, str)
    own_path = [f"{path}[{number}].params" if listed else path for number in range(len(named))]
    chain = PreprocessorChain(
        tuple(
            Stage(preprocessor=preprocessor(each.name, path), given=each.params, path=place)
            for each, place in zip(named, own_path, strict=True)
        )
    )
    chain.require_order(path)
    return chain


def map_key(
    picture: str, own_size: tuple[int, int], chain: tuple[Hashable, ...], frame: Frame, size: tuple[int, int]
) -> tuple[Hashable, ...]:
    """The cache key of a control map at a size.

    `picture` is the picture's hash, `own_size` its size, `chain` is `PreprocessorChain.key`. A picture that
    has the size already is not fitted, so its key does not depend on the resize mode.
    """
    same = own_size == size and frame.crop is None
    return ("map", picture, chain, None if same else frame, *size)


def preprocessor(name: str, path: str = "") -> Preprocessor:
    """The preprocessor of this name or label. Raises RequestError at `path`, with the nearest names."""
    name = catalogue.preprocessor_named(path, name)
    found: Preprocessor = catalogue.entry(name, catalogue.PREPROCESSORS, "preprocessor", path).load()()
    return found


def _has(stage: Stage, name: str) -> bool:
    return any(param.name == name for param in stage.params)


def _shared_out(stage: Stage, params: Mapping[str, Any], shared: frozenset[str]) -> dict[str, Any]:
    """The values of a unit's `params` that belong to a stage."""
    return {name: value for name, value in params.items() if name not in shared and _has(stage, name)}
