"""Finds control families by name, and recognises the family of a file.

To add a family, write a file with a class and add a line to `lib_ctrlgen.request.catalogue.CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control
from .controlnet.instant_id import says_instant_id
from .ip_adapter.variants import decided
from .unsupported import refuse_others, refuse_sparse_control

SAME_KEYS = frozenset({"controlnet", "instant_id"})  # families whose files have the same keys and shapes


def controls() -> Iterator[type[Control]]:
    """All control families, in the order of the catalogue."""
    return (entry.load() for entry in catalogue.CONTROLS)


def control_for(kind: ModelKind) -> type[Control]:
    """The family of a file of this kind. Raises ModelError if the catalogue has no family of this name."""
    for entry in catalogue.CONTROLS:
        if entry.name == kind.control:
            family: type[Control] = entry.load()
            return family
    raise ModelError(f"there is no control family {kind.control!r}")


def identify(shapes: Shapes) -> ModelKind:
    """The kind of a file with tensors of these names and shapes, from the first family that recognises it.

    Raises ModelError for a file that is recognised but not supported, and for a file that is no control.
    """
    refuse_sparse_control(shapes)
    for family in controls():
        kind = family.detect(shapes)
        if kind is not None:
            return kind
    refuse_others(shapes)
    some = ", ".join(sorted(shapes)[:4]) or "none"
    raise ModelError(f"this is not a known kind of control model; the file's first keys: {some}")


def identify_file(path: Path) -> ModelKind:
    """The kind of a file, from its header; its name decides between the families of `SAME_KEYS`.

    Metadata and name decide between variants that have the same keys. Raises ModelError.
    """
    kind = identify(read_header(path))
    if kind.control == "controlnet" and says_instant_id(path):
        return replace(kind, control="instant_id")
    return decided(kind, path)


def as_asked(kind: ModelKind, wanted: str) -> ModelKind:
    """Replace the family by the one that a request names, if both have the same keys."""
    if wanted != kind.control and {kind.control, wanted} <= SAME_KEYS:
        return replace(kind, control=wanted)
    return kind


def family_params(unit: ControlUnit) -> tuple[Param, ...]:
    """The parameters of a unit's control family; if the control is `auto`, those of every family."""
    chosen = [family for family in controls() if unit.control in {catalogue.AUTO, family.name}]
    return tuple(dict.fromkeys(param for family in chosen for param in family.params))
