"""Recognises ControlNets and Unions by the names and shapes of their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes, bare_shapes, first_size, unsupported
from lib_ctrlgen.unet.family import Family


def controlnet_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of an ordinary ControlNet or of a Union; None for other files. Raises ModelError."""
    return _diffusers_controlnet(shapes) or _ldm_controlnet(shapes)


def _diffusers_controlnet(shapes: Shapes) -> ModelKind | None:
    if "controlnet_cond_embedding.conv_in.weight" not in shapes:
        return None
    family = controlnet_family(shapes, "down_blocks.", ("add_embedding.linear_1.weight",))
    return _kind(shapes, "diffusers", family)


def _ldm_controlnet(shapes: Shapes) -> ModelKind | None:
    bare = bare_shapes(shapes)
    if "input_hint_block.0.weight" not in bare:
        return None
    family = controlnet_family(bare, "input_blocks.", ("label_emb.0.0.weight",))
    return _kind({**shapes, **bare}, "ldm", family)


def _kind(shapes: Shapes, layout: Literal["ldm", "diffusers"], family: Family) -> ModelKind:
    """The kind of a ControlNet, plain or stored as a difference, or of a Union (or ProMax)."""
    difference = "difference" in shapes
    if not any(key in shapes for key in _UNION):
        variant = "difference" if difference else ""
        return ModelKind(control="controlnet", layout=layout, family=family, variant=variant)
    if difference:
        raise unsupported("a ControlNet Union stored as the difference from its checkpoint")
    variant = "promax" if first_size(shapes, "task_embedding") > _UNION_TYPES else ""
    return ModelKind(control="controlnet_union", layout=layout, family=family, variant=variant)


_UNION = ("control_add_embedding.linear_1.bias", "task_embedding")


_UNION_TYPES = 6


def controlnet_family(shapes: Shapes, blocks: str, labels: Sequence[str]) -> Family:
    """The checkpoint family, from the width of the text features.

    A network without cross attention, but with one of the tensors `labels`, is a small one for SDXL. Raises
    ModelError for any other network without cross attention.
    """
    for key, shape in shapes.items():
        if key.startswith(blocks) and key.endswith(_TEXT_READERS) and len(shape) == 2:
            return Family.of(shape[1])
    if any(label in shapes for label in labels):
        return Family.of(2048)
    raise ModelError("looks like a ControlNet, but has no cross attention: the file is incomplete")


_TEXT_READERS = ("attn2.to_k.weight", "attn2.to_k.down")
