"""The number format of a training's forward pass, and the scaling of losses that half precision needs."""

from __future__ import annotations

from typing import Any

import torch

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.training import Precision

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The format of the forward pass. Raises RequestError for one that the device does not compute in."""
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision != "fp32" and device.type != "cuda":
        raise RequestError("$.precision", f"{precision} needs a GPU; on a {device.type.upper()} it is fp32")
    return DTYPES[precision]


def scaler_of(dtype: torch.dtype, device: torch.device) -> Any:
    """torch's GradScaler, which does nothing unless the format is fp16."""
    enabled = dtype == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # before torch 2.3
