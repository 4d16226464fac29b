"""What can be said of a unit before its model is loaded: preprocessor, family, parameters."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control, as_asked, identify_file
from .registry import control_for, params_for


def check_unit(unit: ControlUnit, path: str, store: ModelStore | None) -> None:
    """Raise RequestError below `path` for a unit that no generation takes; reads headers of files only.

    Without a store nothing is said of the model, and the parameters of every family are accepted.
    """
    chosen = preprocessor(unit.preprocessor, f"{path}.preprocessor")
    if store is None:
        check_params(unit.params, params_for(unit), f"{path}.params")
        return
    _, family = family_of(unit, path, store)
    check_params(unit.params, (*params_of(chosen), *family.params), f"{path}.params")


def family_of(unit: ControlUnit, path: str, store: ModelStore) -> tuple[Path, type[Control]]:
    """The file of a unit's model, and the control family that loads it. Raises RequestError below `path`."""
    with at_path(f"{path}.model"):
        file = store.resolve(unit.model)
        family = control_for(as_asked(store.get(file, identify_file), unit.control))
    if unit.control not in {"auto", family.name}:
        raise RequestError(
            f"{path}.control",
            f"'{unit.model}' is of the family {family.title}: say 'auto' or {family.name!r}",
        )
    return file, family
