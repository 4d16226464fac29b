"""Controls that act on a U-Net in each of the five ways, and a session with them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.protocols import InputChange
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.linear_sites import InputSite
from tests.support import control_files as files
from tests.support.networks import (
    SD_PLACES,
    Call,
    ContextNoise,
    FeatureNoise,
    NoiseControl,
    Script,
    TokenControl,
)
from tests.support.unet_calls import (
    RESIDUAL_CHANNELS,
    RESIDUAL_SIZES,
    port_of,
    run,
)

A, B, C = (files.data_url(64, 64, seed) for seed in (3, 4, 5))
TOLERANCE = 1e-4  # other processors and batches of other sizes round otherwise


@dataclass(eq=False)
class InputNoise:
    """An `InputControl`: a change of what attention reads that depends on what it reads."""

    seed: int
    layers: int = 1

    def present(self) -> AbstractContextManager[None]:
        return nullcontext()

    def changes(self, sites: Sequence[InputSite], size: tuple[int, int]) -> Mapping[str, InputChange]:
        return {site.name: InputChange(0, self.change(place)) for place, site in enumerate(sites)}

    def change(self, place: int) -> Callable[[Tensor], Tensor]:
        def of(x: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(1000 * self.seed + place)
            return torch.tanh(x) * torch.randn(1, *x.shape[1:], generator=generator)

        return of

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


WAYS: dict[str, Callable[[int], Any]] = {
    "residual": lambda seed: NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, seed),
    "attention": TokenControl,
    "features": lambda seed: FeatureNoise(SD_PLACES, seed),
    "inputs": InputNoise,
    "context": ContextNoise,
}


def controlled(unet: Any, units: Sequence[ActiveUnit], call: Call, step: int = 0) -> Tensor:
    with torch.no_grad(), ControlSession(port_of(unet), units, Script(4, [(step, call.rows)])):
        return run(unet, call)


def half(left: bool, size: int = 64) -> Image.Image:
    """White on one side of the middle."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (0, 0, size // 2, size) if left else (size // 2, 0, size, size))
    return mask
