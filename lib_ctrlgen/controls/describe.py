"""Describes a model file: its control family or that it is a checkpoint, and the checkpoint family."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.models.kind import CHECKPOINT_UNET, checkpoint_family
from lib_ctrlgen.models.listing import Description
from lib_ctrlgen.models.tensor_files import read_header, read_json
from lib_ctrlgen.unet.family import Family

from .registry import identify_file

CHECKPOINT = "checkpoint"


def describe(path: Path) -> Description:
    """What a file is, from its header; a folder is a pipeline. Raises ModelError for other files."""
    if is_checkpoint(path):
        family = family_of(path)
        folder = "diffusers folder" if path.is_dir() else ""
        return Description(kind=CHECKPOINT, base=family.name if family else "", variant=folder)
    kind = identify_file(path)
    return Description(kind=kind.control, base=kind.family.name, variant=kind.variant)


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint's: a folder, or a file with a U-Net. Raises ModelError."""
    return path.is_dir() or any(key.startswith(CHECKPOINT_UNET) for key in read_header(path))


def family_of(checkpoint: Path) -> Family | None:
    """The family of a checkpoint; None for one without a U-Net that reads text. Raises ModelError."""
    if not checkpoint.is_dir():
        return checkpoint_family(read_header(checkpoint))
    config = checkpoint / "unet" / "config.json"
    width = read_json(config).get("cross_attention_dim") if config.is_file() else None
    return Family.of(width) if isinstance(width, int) else None
