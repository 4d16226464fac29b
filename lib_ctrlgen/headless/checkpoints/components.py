"""Loads single networks from diffusers folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import format_of
from lib_ctrlgen.models.weight_files import parts_of, weights_in


def read_network(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a diffusers network of class `kind` from its folder, frozen. Raises ModelError."""
    file = weights_in(folder, "diffusion_pytorch_model")
    for part in parts_of(file):
        format_of(part)  # raises ModelError for a file that is not a model
    half = ".fp16" in file.name
    try:
        network = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=dtype,
            variant="fp16" if half else None,
        )
    # diffusers raises many kinds of exceptions on broken folders
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise ModelError(f"'{folder.parent.name}/{folder.name}' cannot be loaded: {reason}") from error
    network.requires_grad_(requires_grad=False)
    return network.eval().to(device=device)
