"""The control families by name, and which of them a file belongs to.

To add one: a file with a class, and a line in `lib_ctrlgen.request.catalogue.CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control
from .controlnet.instant_id import says_instant_id
from .ip_adapter.variants import decided
from .unsupported import refuse_others, refuse_sparse_control

SAME_KEYS = frozenset({"controlnet", "instant_id"})  # families that differ by their files' names alone


def controls() -> Iterator[type[Control]]:
    """All control families, in the order of the catalogue."""
    return (entry.load() for entry in catalogue.CONTROLS)


def control_for(kind: ModelKind) -> type[Control]:
    """The family of a file. Raises ModelError where the catalogue has none of this name."""
    for entry in catalogue.CONTROLS:
        if entry.name == kind.control:
            family: type[Control] = entry.load()
            return family
    raise ModelError(f"no control takes a file of kind {kind.control}")


def identify(shapes: Shapes) -> ModelKind:
    """What a file with tensors of these names and shapes holds: the first family that recognises it.

    Raises ModelError for what is recognised and not supported, and for anything that is no control.
    """
    refuse_sparse_control(shapes)
    for family in controls():
        kind = family.detect(shapes)
        if kind is not None:
            return kind
    refuse_others(shapes)
    some = ", ".join(sorted(shapes)[:4]) or "none"
    raise ModelError(f"not a control model that is known here; the file's first keys: {some}")


def identify_file(path: Path) -> ModelKind:
    """What a file holds, from its header; its name decides between the families of `SAME_KEYS`.

    Metadata and name decide between variants that have the same keys. Raises ModelError.
    """
    kind = identify(read_header(path))
    if kind.control == "controlnet" and says_instant_id(path):
        return replace(kind, control="instant_id")
    return decided(kind, path)


def as_asked(kind: ModelKind, wanted: str) -> ModelKind:
    """The kind with the family that a request names, where the file's keys do not tell the two apart."""
    if wanted != kind.control and {kind.control, wanted} <= SAME_KEYS:
        return replace(kind, control=wanted)
    return kind


def params_for(unit: ControlUnit) -> tuple[Param, ...]:
    """The parameters that `unit.params` may hold: the preprocessor's, then the control's.

    While the control is `auto`, those of every family. Raises RequestError for an unknown preprocessor.
    """
    chosen = [family for family in controls() if unit.control in {catalogue.AUTO, family.name}]
    own = dict.fromkeys(param for family in chosen for param in family.params)
    return (*params_of(preprocessor(unit.preprocessor)), *own)
