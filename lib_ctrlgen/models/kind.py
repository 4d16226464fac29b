"""The kind of a control model's file, which follows from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.unet.family import Family

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
CHECKPOINT_UNET = "model.diffusion_model."  # the prefix of the U-Net's keys in a checkpoint
TEXT_KEYS = ".attn2.to_k.weight"  # its width is that of the text features


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """The kind of a control model's file.

    control  the name of its control family, see `lib_ctrlgen.request.catalogue.CONTROLS`
    layout   the naming of its tensors: ldm's or diffusers'
    family   the checkpoint family that it was made for
    variant  of an IP-Adapter (plain, plus, full), a T2I-Adapter (full, light) or a Union (`promax`); or
             `difference` for a ControlNet that is stored as the difference from its checkpoint
    """

    control: str
    layout: Literal["ldm", "diffusers"]
    family: Family
    variant: str = ""


def strip_prefix(keys: Mapping[str, object]) -> str:
    """The prefix of a control's keys in a file: `control_model.`, `adapter.` or none."""
    prefixes = ("control_model.", "adapter.")
    return next((prefix for prefix in prefixes if any(key.startswith(prefix) for key in keys)), "")


def bare_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of the control alone, under names without its prefix."""
    prefix = strip_prefix(shapes)
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def first_size(shapes: Shapes, key: str) -> int:
    """The first dimension of a tensor; 0 if the tensor is missing."""
    return next(iter(shapes.get(key, ())), 0)


def unsupported(name: str, instead: str = "") -> ModelError:
    """The error for a file that is recognised but not supported; `instead` is appended to the sentence."""
    return ModelError(f"recognised as {name}, not supported yet{instead}")


def checkpoint_family(shapes: Shapes) -> Family | None:
    """The checkpoint family of a checkpoint's U-Net; None for one without cross attention (SD3, Flux)."""
    widths = (
        shape[-1]
        for key, shape in shapes.items()
        if key.startswith(CHECKPOINT_UNET) and key.endswith(TEXT_KEYS)
    )
    width = next(widths, None)
    return None if width is None else Family.of(width)
