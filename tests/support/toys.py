"""A control family, a preprocessor and a score that a stranger might add, each one class or function."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.preprocessors import Preprocessor
from lib_ctrlgen.request.catalogue import Entry
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.tuner.scoring.catalogue import Score
from lib_ctrlgen.tuner.scoring.measure import ScoreInputs
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.unet.family import Family


@dataclass(frozen=True)
class PreparedToy:
    """One unit: a token behind the text's."""

    token: Tensor

    def extra_tokens(self) -> Tensor:
        return self.token


@dataclass(frozen=True)
class ToyFamily:
    """A file with one tensor, `toy.token` [X]."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy family"
    params: ClassVar[tuple[Param, ...]] = (
        Param(
            name="strength", label="Strength", kind="float", default=1.0, minimum=0.0, maximum=2.0, step=0.1
        ),
    )

    token: Tensor

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        width = shapes.get("toy.token")
        return ModelKind(control=cls.name, layout="ldm", family=Family.of(width[0])) if width else None

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> "ToyFamily":
        del kind
        return target.store.get(path, lambda file: cls(read_tensors(file)["toy.token"]))

    @property
    def layers(self) -> int:
        return 1

    def prepare(self, job: UnitInputs, target: Target) -> PreparedToy:
        del target
        return PreparedToy(torch.as_tensor(job.params["strength"]) * self.token[None, None])


class ToyPreprocessor(Preprocessor):
    """A blurred picture."""

    name: ClassVar[str] = "toy_blur"
    title: ClassVar[str] = "Toy blur"
    params: ClassVar[tuple[Param, ...]] = (
        Param(name="radius", label="Toy radius", kind="int", default=2, minimum=0, maximum=9, step=1),
    )
    detects: ClassVar[bool] = False
    compared = "structure"

    def __call__(self, image: Image.Image, radius: int = 2, **params: Any) -> Image.Image:
        del params
        return image.filter(ImageFilter.GaussianBlur(radius))


def measure_ink(inputs: ScoreInputs) -> Scores:
    """The mean darkness of the picture, 0..1."""
    return Scores({"ink": 1 - float(np.asarray(inputs.picture.convert("L")).mean()) / 255})


FAMILY = Entry("toy", "tests.support.toys:ToyFamily")
PREPROCESSOR = Entry("toy_blur", "tests.support.toys:ToyPreprocessor")
SCORE = Score(
    name="ink",
    label="ink used",
    about="0..1: mean darkness",
    place="tests.support.toys:measure_ink",
    less_is_better=True,
)
