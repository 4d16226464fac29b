"""What diffusers' folders hold: weights under some usual names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.weights import SUFFIXES


def weights_in(folder: Path, *stems: str) -> Path:
    """The weights of a diffusers component; the full precision's first. Raises ModelError."""
    names = [f"{stem}{part}{end}" for part in ("", ".fp16") for stem in stems for end in SUFFIXES]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"'{folder.parent.name}/{folder.name}' holds no weights such as {names[0]}")
    return found


def read_network(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A diffusers network from its folder, frozen. Raises ModelError."""
    half = ".fp16" in weights_in(folder, "diffusion_pytorch_model").name
    try:
        network = kind.from_pretrained(
            str(folder), local_files_only=True, low_cpu_mem_usage=False, variant="fp16" if half else None
        )
    # diffusers raises many kinds of exceptions on broken folders
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise ModelError(f"'{folder.parent.name}/{folder.name}' cannot be loaded: {reason}") from error
    network.requires_grad_(requires_grad=False)
    return network.eval().to(device=device, dtype=dtype)
