"""The control files of this WebUI with the kinds that they are for, and the family of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from modules import sd_models

from lib_ctrlgen.errors import CtrlGenError, ModelError
from lib_ctrlgen.forms.control_files import ControlFile, file_of, fileless
from lib_ctrlgen.models.kind import checkpoint_family
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.unet.family import Family

from .settings import model_store


def control_files_named() -> tuple[ControlFile, ...]:
    """The control files by their names alone, which is quick; then the families without a file."""
    return (*map(file_of, model_store().names()), *fileless())


def control_files() -> tuple[ControlFile, ...]:
    """The same without files that are no controls; headers are read where names do not say enough."""
    found = map(_read, model_store().names())
    return (*(file for file in found if file is not None), *fileless())


def control_file(name: str) -> ControlFile | None:
    """What a choice of a model list is; None for no control, and for a file that is missing."""
    without = next((file for file in fileless() if file.name == name), None)
    return without or (_read(name) if name else None)


def _read(name: str) -> ControlFile | None:
    """What the file of this name is, by its name or else by its header; None for one that is no control."""
    store, known = model_store(), file_of(name)
    try:
        path = store.resolve(name)
        if known.is_known:
            return known
        from lib_ctrlgen.controls.registry import identify_file  # imports every family, and diffusers

        kind = store.get(path, identify_file)
    except (CtrlGenError, OSError):
        return None
    return file_of(name, kind.control, _base(kind.family), kind.variant)


def checkpoint_base(title: str) -> str:
    """The family of the checkpoint with this title, read from its file; empty if that is not possible."""
    found = sd_models.get_closet_checkpoint_match(title) if title else None
    if found is None:
        return ""
    try:
        return model_store().get(Path(found.filename), _base_read)
    except (CtrlGenError, OSError):
        return ""


def _base_read(path: Path) -> str:
    family = checkpoint_family(read_header(path))
    return _base(family) if family else ""


def _base(family: Family) -> str:
    """The name of a checkpoint family; of those with other text encoders with the width of their features."""
    return f"{family.name} ({family.context_dim})" if family.name == "custom" else family.name


def is_ready(name: str) -> bool:
    """Whether a preprocessor has all the weights that it needs."""
    try:
        made = preprocessor(name)
        return not made.needs_weights or made.with_store(model_store()).weight_files() is not None
    except ModelError:
        return False
