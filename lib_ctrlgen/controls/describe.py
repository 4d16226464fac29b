"""Describes a model file: its control family or that it is a checkpoint, and the checkpoint family."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.models.kind import Shapes
from lib_ctrlgen.models.listing import Description
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.unet.call import Family

from .registry import identify_file

CHECKPOINT = "checkpoint"
UNET = "model.diffusion_model."
TEXT_KEYS = ".attn2.to_k.weight"  # its width is that of the text features


def describe(path: Path) -> Description:
    """What a file is, from its header; a folder is a pipeline. Raises ModelError for other files."""
    if path.is_dir():
        return Description(kind=CHECKPOINT, variant="diffusers folder")
    shapes = read_header(path)
    if any(key.startswith(UNET) for key in shapes):
        family = checkpoint_family(shapes)
        return Description(kind=CHECKPOINT, base=family.name if family else "")
    kind = identify_file(path)
    return Description(kind=kind.control, base=kind.family.name, variant=kind.variant)


def checkpoint_family(shapes: Shapes) -> Family | None:
    """The checkpoint family of a checkpoint's U-Net; None for one without cross attention (SD3, Flux)."""
    widths = (shape[-1] for key, shape in shapes.items() if key.startswith(UNET) and key.endswith(TEXT_KEYS))
    width = next(widths, None)
    return None if width is None else Family.of(width)
