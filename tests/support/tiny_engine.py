"""Requests for an engine on the random tiny model, and comparisons of the pictures that it makes."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.headless.checkpoints.load import (
    Place,
)
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files

CPU = Place(device=torch.device("cpu"), dtype=torch.float16)


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    payload = {
        "prompt": "a red star",
        "width": 64,
        "height": 64,
        "steps": 2,
        "sampler": "Euler",
        "units": [{"image": files.data_url(), **unit} for unit in units],
        **fields,
    }
    return parse_request(payload, GenerationRequest)


EDGES = {"model": "ctrlgen-tiny-edges", "weight": 2}
LOOK = {"model": "ctrlgen-tiny-ip", "weight": 2}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def same(one: Generation, other: Generation, tolerance: int = 0) -> bool:
    pairs = zip(one.images, other.images, strict=True)
    return all(np.abs(pixels(a) - pixels(b)).max() <= tolerance for a, b in pairs)


def differ(one: Generation, other: Generation) -> bool:
    """Whether pictures differ by more than processors do, of which the last bit is another on each."""
    return not same(one, other, tolerance=2)


def hooks_of(network: nn.Module) -> int:
    return sum(
        len(found)
        for module in network.modules()
        for found in (module._forward_hooks, module._forward_pre_hooks)
    )


def contexts_of(engine: Engine, wanted: GenerationRequest) -> list[torch.Tensor]:
    """The conditional features of every U-Net call."""
    network = engine.load(wanted.model).unet
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["encoder_hidden_states"].chunk(2)[1].clone())

    with network.register_forward_pre_hook(keep, with_kwargs=True):
        engine.generate(wanted)
    return seen
