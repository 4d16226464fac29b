"""Describes a model file: its control family or that it is a checkpoint, and the checkpoint family."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.models.kind import CHECKPOINT_UNET, checkpoint_family
from lib_ctrlgen.models.listing import Description
from lib_ctrlgen.models.tensor_files import read_header

from .registry import identify_file

CHECKPOINT = "checkpoint"


def describe(path: Path) -> Description:
    """What a file is, from its header; a folder is a pipeline. Raises ModelError for other files."""
    if path.is_dir():
        return Description(kind=CHECKPOINT, variant="diffusers folder")
    shapes = read_header(path)
    if any(key.startswith(CHECKPOINT_UNET) for key in shapes):
        family = checkpoint_family(shapes)
        return Description(kind=CHECKPOINT, base=family.name if family else "")
    kind = identify_file(path)
    return Description(kind=kind.control, base=kind.family.name, variant=kind.variant)
