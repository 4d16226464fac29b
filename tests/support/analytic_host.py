"""A tuner host without a model, whose scores are known functions of the request."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import CellPictures

PAYLOAD: dict[str, Any] = {
    "prompt": "a",
    "steps": 20,
    "cfg_scale": 12,
    "units": [{"model": "a"}, {"model": "b"}],
}


class AnalyticHost:
    """Adherence is best where weights and guidance are 1.2, 0.4 and 5; over-control grows with the weights.

    Fewer steps blur both. `stops_after` counts requests, `fails` says which weights fail.
    """

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.steps: list[int] = []
        self.stops_after: int | None = None
        self.fails: tuple[float, ...] = ()
        self.lacks: tuple[str, ...] = ()

    @property
    def made(self) -> int:
        return len(self.steps)

    def batch(self, payload: Mapping[str, Any], seeds: int) -> GenerationRequest:
        return replace(parse_request(dict(payload), GenerationRequest), batch_size=seeds)

    recommended, use, encoder = "recommended.txt", "Run it.", ""

    def recipe(self, request: GenerationRequest, folder: Any, files: Sequence[str]) -> str:
        return key_of({"r": repr(request)})

    def alike(self, request: GenerationRequest) -> str:
        return str(request.steps)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[CellPictures]:
        return [self.one(request) for request in requests]

    def one(self, request: GenerationRequest) -> CellPictures:
        if self.stops_after is not None and self.made >= self.stops_after:
            raise KeyboardInterrupt
        if request.units and request.units[0].weight.constant in self.fails:
            raise RuntimeError("the model is sick")
        if request.units:
            self.steps += [request.steps] * request.batch_size
        seeds = tuple(request.seed + i for i in range(request.batch_size))
        images = tuple(Image.new("RGB", (8, 8), (seed % 256, 0, 0)) for seed in seeds)
        return CellPictures(images=images, seeds=seeds, infos=tuple(PngInfo() for _ in seeds))

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        seed = picture.getpixel((0, 0))[0]  # type: ignore[index]
        own = np.random.default_rng([int(key_of({"r": repr(request)}), 16) % 2**32, seed])
        blur = 0.05 * (1 - request.steps / 20)
        values = {
            "adherence.0": adherence(request) * (1 - blur) + self.noise * own.normal(),
            "over_control": overdone(request) + blur + self.noise * own.normal(),
        }
        return Scores({name: value for name, value in values.items() if name not in self.lacks})


def numbers(request: GenerationRequest) -> tuple[float, ...]:
    found = [unit.weight.constant for unit in request.units] + [request.cfg_scale.constant]
    return tuple(float(value) for value in found if value is not None)


def adherence(request: GenerationRequest) -> float:
    first, second, guidance = numbers(request)
    return float(np.exp(-4 * (first - 1.2) ** 2 - 4 * (second - 0.4) ** 2 - ((guidance - 5) / 6) ** 2))


def overdone(request: GenerationRequest) -> float:
    first, second, guidance = numbers(request)
    return 0.3 * first**2 + 0.2 * second**2 + guidance / 60
