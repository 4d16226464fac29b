"""Describes a model file in a few words, from the names of its tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.models.tensor_files import read_header

from .checkpoints.kinds import UNET, kind_of


def kind_of_model(path: Path) -> str:
    """The kind and checkpoint family of a checkpoint or control. Raises ModelError for other files."""
    if path.is_dir():
        return "checkpoint, a diffusers folder"
    shapes = read_header(path)
    if any(key.startswith(UNET) for key in shapes):
        empty = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        return f"checkpoint {kind_of(empty).name}"
    kind = identify_file(path)
    return " ".join(filter(None, (kind.control, kind.variant, f"for {kind.family}")))
