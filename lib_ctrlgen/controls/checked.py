"""Checks a unit before its model is loaded: its preprocessor, its control family and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.spec import ControlUnit

from .base import NO_PICTURE, Control, FilelessControl, Target
from .encoder_fit import require_fitting
from .registry import as_asked, control_for, family_params, identify_file

NOT_COMBINED = "concat"  # the default of a unit's `combine`


def check_unit(unit: ControlUnit, path: str, store: ModelStore | None) -> None:
    """Raise RequestError below `path` for a unit that no generation would accept.

    It reads only the header of the model's file. Without a store, the model is not checked, and the
    parameters of every family are accepted.
    """
    chain = chain_of(unit.preprocessor, f"{path}.preprocessor")
    known = family_params(unit) if store is None else family_of(unit, path, store).family.params
    chain.checked(unit.params, known, f"{path}.params")


@dataclass(frozen=True, kw_only=True)
class UnitFamily:
    """The control family of a unit, and its model file with its kind, unless the family has no files."""

    family: type[Control]
    file: Path | None = None
    kind: ModelKind | None = None

    def load(self, target: Target) -> Control:
        """The loaded model. Raises ModelError."""
        if self.file is None or self.kind is None:
            fileless = cast("type[FilelessControl]", self.family)
            return fileless.built(target)
        return self.family.load(self.file, self.kind, target)


def family_of(unit: ControlUnit, path: str, store: ModelStore) -> UnitFamily:
    """The control family of a unit, from its name or from its model file.

    Raises RequestError below `path`, also for a missing picture or for settings of another family.
    """
    pictured = unit.image or unit.images or unit.references or unit.image_from != "request"
    found = _family(unit, path, store)
    entry = catalogue.family_entry(found.family.name)
    if entry.needs_image and not pictured:
        raise RequestError(f"{path}.image", NO_PICTURE)
    for name in catalogue.FAMILY_FIELDS:
        if getattr(unit, name) and name not in entry.fields:
            takers = ", ".join(each.name for each in catalogue.CONTROLS if name in each.fields) or "none"
            message = f"a unit of the family {found.family.title} has none (families that have: {takers})"
            raise RequestError(f"{path}.{name}", message)
    if unit.combine != NOT_COMBINED and "references" not in entry.fields:
        message = f"a unit of the family {found.family.title} has no references to combine: leave it out"
        raise RequestError(f"{path}.combine", message)
    return found


def _family(unit: ControlUnit, path: str, store: ModelStore) -> UnitFamily:
    if catalogue.without_model(unit.control):
        return UnitFamily(family=catalogue.family_entry(unit.control).load())
    with at_path(f"{path}.model"):
        file = store.resolve(unit.model)
        kind = as_asked(store.get(file, identify_file), unit.control)
        family = control_for(kind)
        require_fitting(unit, path, kind, file, store)
    if unit.control not in {"auto", family.name}:
        raise RequestError(
            f"{path}.control",
            f"'{unit.model}' is of the family {family.title}: use 'auto' or {family.name!r}",
        )
    return UnitFamily(family=family, file=file, kind=kind)
