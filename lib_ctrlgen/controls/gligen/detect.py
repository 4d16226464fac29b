"""Recognises GLIGEN files by the names and shapes of their tensors, and sorts out what belongs to GLIGEN."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.unet.family import Family

TEXT, TEXT_IMAGE = "text", "text-image"  # variants
_POSITION = re.compile(r"(?:.*\.)?position_net\.(?P<leaf>[\w.]+)")
_FUSER = re.compile(
    r"(?:.*\.)?(?P<part>input_blocks|down_blocks|output_blocks|up_blocks|middle_block|mid_block)\."
    r"(?P<place>[\w.]{1,99}?)\.fuser\.(?P<leaf>[\w.]+)"
)
_ORDER = {
    "input_blocks": 0,
    "down_blocks": 0,
    "output_blocks": 1,
    "up_blocks": 1,
    "middle_block": 2,
    "mid_block": 2,
}
_FIRST = {TEXT: "linears.0.weight", TEXT_IMAGE: "linears_text.0.weight"}


def is_gligen_key(key: str) -> bool:
    """Whether a tensor is part of GLIGEN; a file may also hold the whole U-Net that it was trained with."""
    return _POSITION.fullmatch(key) is not None or _FUSER.fullmatch(key) is not None


def position_keys(keys: Iterable[str]) -> dict[str, str]:
    """The names in the file of the position net's tensors, by their own names."""
    return {match["leaf"]: key for key in keys if (match := _POSITION.fullmatch(key))}


def fuser_keys(keys: Iterable[str]) -> list[dict[str, str]]:
    """For each gated block, in checkpoint order (down, up, mid), the names in the file of its tensors."""
    blocks: dict[tuple[int, ...], dict[str, str]] = {}
    for key in keys:
        if match := _FUSER.fullmatch(key):
            place = (_ORDER[match["part"]], *map(int, re.findall(r"\d+", match["place"])))
            blocks.setdefault(place, {})[match["leaf"]] = key
    return [blocks[place] for place in sorted(blocks)]


def gligen_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of a GLIGEN file, None for other files.

    Raises ModelError for an incomplete file, for GLIGEN with other conditions than boxes (key points, depth),
    and for checkpoint families of which no GLIGEN is published.
    """
    position, blocks = position_keys(shapes), fuser_keys(shapes)
    if not position and not blocks:
        return None
    if not position or not blocks:
        missing = "position net" if blocks else "gated attention (fuser)"
        raise ModelError(f"looks like GLIGEN, but its {missing} is missing")
    variant = next((name for name, key in _FIRST.items() if key in position), None)
    if variant is None or "null_position_feature" not in position:
        some = ", ".join(sorted(position)[:3])
        raise ModelError(
            f"recognised as GLIGEN, but not for boxes with a phrase (position_net keys {some}): "
            "its other conditions, such as key points or depth, are not supported"
        )
    family = Family.of(_context(shapes, blocks))
    if family.name in ("SD2", "SDXL"):
        raise ModelError(
            f"recognised as GLIGEN for {family}: GLIGEN is supported for SD1.x only (context 768)"
        )
    ldm = any("input_blocks." in key for block in blocks for key in block.values())
    return ModelKind(control="gligen", layout="ldm" if ldm else "diffusers", family=family, variant=variant)


def _context(shapes: Shapes, blocks: list[dict[str, str]]) -> int:
    """The width of the objects that the gated blocks read. Raises ModelError unless all have the same."""
    found = [shapes[block["linear.weight"]] for block in blocks if "linear.weight" in block]
    widths = {shape[1] for shape in found if len(shape) == 2}
    if len(widths) != 1 or len(found) != len(blocks):
        raise ModelError("looks like GLIGEN, but its fuser.linear.weight are missing or differ in width")
    return widths.pop()
