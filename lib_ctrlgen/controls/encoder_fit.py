"""Checks that a preprocessor of sd-webui-controlnet that makes no map fits the unit's model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.request.encoder_names import ENCODER_NAMES, EncoderName, encoder_name
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.request.unit import NO_PREPROCESSOR

from .ip_adapter.variants import OR

# The CLIP vision encoders of published IP-Adapters, by what a head reads from them and its width.
ENCODERS: Mapping[tuple[str, int], str] = MappingProxyType(
    {
        ("pooled", 1024): "ViT-H",
        ("penultimate", 1280): "ViT-H",
        ("pooled", 1280): "ViT-bigG",
        ("penultimate", 1664): "ViT-bigG",
    }
)
# The first layer of each kind of head, and what it reads.
INPUTS: Mapping[str, str] = MappingProxyType(
    {
        "image_proj.proj.weight": "pooled",
        "image_proj.proj_in.weight": "penultimate",
        "image_proj.proj.0.weight": "penultimate",
    }
)


def needed_encoder(path: Path) -> str:
    """The CLIP vision encoder that an IP-Adapter's file needs, such as `ViT-H`. Raises ModelError."""
    shapes = read_header(path)
    for key, feature in INPUTS.items():
        if key in shapes:
            width = shapes[key][-1]
            return ENCODERS.get((feature, width), f"an encoder whose {feature} features have width {width}")
    return ""


def require_fitting(unit: ControlUnit, path: str, kind: ModelKind, file: Path, store: ModelStore) -> None:
    """Raise RequestError at `path`.preprocessor where it names an encoder that the file does not need."""
    named = encoder_name(unit.preprocessor) if isinstance(unit.preprocessor, str) else None
    if named is None:
        return
    encoder = store.get(file, needed_encoder) if kind.control == "ip_adapter" else ""
    if _fits(named, kind, encoder):
        return
    needs = f"needs {encoder}" if encoder else f"is of the family {kind.control!r}"
    needs += f" (variant {kind.variant!r})" if kind.variant and not encoder else ""
    fitting = [each.shown for each in ENCODER_NAMES if _fits(each, kind, encoder)]
    advice = (
        f"write {' or '.join(fitting)}"
        if fitting
        else f"write {NO_PREPROCESSOR!r}, or the preprocessor of its control maps"
    )
    raise RequestError(
        f"{path}.preprocessor", f"{named.shown} does not fit: {unit.model!r} {needs}; {advice}"
    )


def _fits(named: EncoderName, kind: ModelKind, encoder: str) -> bool:
    """Whether a name fits a file of this kind, which needs this encoder."""
    variants = kind.variant.split(OR)
    return (
        kind.control in named.controls
        and not named.fileless
        and (not named.variants or any(each in named.variants for each in variants))
        and named.encoder in {"", encoder}
    )
