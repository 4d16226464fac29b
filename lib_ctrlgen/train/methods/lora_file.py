"""Writes LoRA files in kohya's layout, which the WebUI, ComfyUI, kohya's tools and diffusers read."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.models.loras.file import hash_behind_header


def lora_tensors(matrices: Mapping[str, tuple[Tensor, Tensor]], alpha: float) -> dict[str, Tensor]:
    """The tensors of a file, fp16: `NAME.lora_down.weight`, `NAME.lora_up.weight`, `NAME.alpha`."""
    found = {}
    for name, (down, up) in matrices.items():
        found[f"{name}.lora_down.weight"] = _half(down)
        found[f"{name}.lora_up.weight"] = _half(up)
        found[f"{name}.alpha"] = torch.tensor(alpha).half()
    return found


def write_lora(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file with kohya's hash of its tensors, by which the WebUI knows it. Raises HostError."""
    digest = hash_behind_header(BytesIO(save(dict(tensors))))
    save_bytes(save(dict(tensors), {**metadata, "sshs_model_hash": digest}), path)


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().half().contiguous()
