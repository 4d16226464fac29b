"""Checks a unit before its model is loaded: its preprocessor, its control family and its parameters."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control
from .registry import as_asked, control_for, identify_file, params_for


def check_unit(unit: ControlUnit, path: str, store: ModelStore | None) -> None:
    """Raise RequestError below `path` for a unit that no generation would accept.

    It reads only the header of the model's file. Without a store, the model is not checked, and the
    parameters of every family are accepted.
    """
    chosen = preprocessor(unit.preprocessor, f"{path}.preprocessor")
    if store is None:
        check_params(unit.params, params_for(unit), f"{path}.params")
        return
    *_, family = family_of(unit, path, store)
    check_params(unit.params, (*params_of(chosen), *family.params), f"{path}.params")


def family_of(unit: ControlUnit, path: str, store: ModelStore) -> tuple[Path, ModelKind, type[Control]]:
    """The file of a unit's model, the file's kind, and the family that loads it.

    Raises RequestError below `path`.
    """
    with at_path(f"{path}.model"):
        file = store.resolve(unit.model)
        kind = as_asked(store.get(file, identify_file), unit.control)
        family = control_for(kind)
    if unit.control not in {"auto", family.name}:
        raise RequestError(
            f"{path}.control",
            f"'{unit.model}' is of the family {family.title}: use 'auto' or {family.name!r}",
        )
    return file, kind, family
