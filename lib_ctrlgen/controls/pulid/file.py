"""Reading a PuLID file: versions 1 and 1.1 as published, and as converted to an IP-Adapter's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from lib_ctrlgen.controls.ip_adapter.detect import PULID_HEADS
from lib_ctrlgen.controls.ip_adapter.file import AdapterLayers, AdapterWeights
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.unet.family import Family

from .heads import pulid_head

T = TypeVar("T")
HEADS = ("id_adapter.", "image_proj.")
LAYER = re.compile(
    r"(?:id_adapter_attn_layers|ip_adapter|adapter_modules)\.(\d+)\.(?:id_to_(k|v)|to_(k|v)_ip)\.weight"
)


def pulid_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of a PuLID file, None for other files. Raises ModelError for an incomplete one."""
    head = _head(shapes)
    if not any(key.startswith(PULID_HEADS) for key in head) and not any(
        key.startswith(HEADS[0]) for key in shapes
    ):
        return None
    layers = _layers(shapes).values()
    widths = {shape[1] for shape in layers if len(shape) == 2}
    if len(widths) != 1:
        raise ModelError("looks like a PuLID, but its keys and values are missing or differ in width")
    variant = "v1.1" if "latents" in head else "v1"
    return ModelKind(control="pulid", layout="diffusers", family=Family.of(widths.pop()), variant=variant)


def _head(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors of the head under their own names."""
    return {
        key.removeprefix(prefix): value
        for prefix in HEADS
        for key, value in tensors.items()
        if key.startswith(prefix)
    }


def _layers(tensors: Mapping[str, T]) -> dict[tuple[int, str], T]:
    """The weights of keys (`k`) and values (`v`) by the number of the attention layer."""
    found = ((LAYER.fullmatch(key), value) for key, value in tensors.items())
    return {(int(match[1]), match[2] or match[3]): value for match, value in found if match}


def stored_pulid(path: Path, store: ModelStore, placement: Placement) -> AdapterWeights:
    """A PuLID from the store's cache, or read. Raises ModelError."""

    def load_pulid(path: Path) -> AdapterWeights:
        return read_pulid(path, placement)

    return store.get(path, load_pulid, placement)


def read_pulid(path: Path, placement: Placement) -> AdapterWeights:
    """Read a file. Raises ModelError where a part is missing or has another shape."""
    tensors = read_tensors(path)
    image, layers = _head(tensors), _layers(tensors)
    device, dtype = placement.home, placement.dtype
    try:
        with torch.device("meta"):
            head = pulid_head(image)
        numbers = sorted({number for number, _ in layers})
        pairs = [
            (layers[number, "k"].to(device, dtype), layers[number, "v"].to(device, dtype))
            for number in numbers
        ]
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path.stem}' is not a complete PuLID: {error}") from error
    fill(head, image, path.stem, device, dtype)
    if any(keys.shape != values.shape or keys.ndim != 2 for keys, values in pairs):
        raise ModelError(f"'{path.stem}' is not a complete PuLID: keys and values differ in shape")
    attention = AdapterLayers(pairs)
    return AdapterWeights(
        projection=head,
        layers=attention,
        weights=placed([head, attention], placement, path.stem),
        feature="penultimate",
        width=0,
    )
