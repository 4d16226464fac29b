"""A random T2I style adapter and units with it."""

from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.request.spec import ControlUnit, parse_request
from tests.support import control_files as files

WIDTH, HEADS, TOKENS = files.STYLE_WIDTH, 8, 5
SHAPE = files.shape()


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    named = files.style_adapter_shapes(WIDTH, files.CONTEXT, TOKENS)
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in named.items()}


def unit(model: str = "style", **fields: Any) -> ControlUnit:
    payload = {"model": model, "image": files.data_url(40, 32), **fields}
    return parse_request({"units": [payload]}).units[0]
