"""What the cards offer: models and what they can be for, preprocessors, samplers, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, get_args

import msgspec

from lib_ctrlgen.forms.control_files import (
    WEIGHT_TYPE,
    ControlFile,
    best_file,
    best_preprocessor,
    file_of,
    fileless,
    offered,
    unit_values,
)
from lib_ctrlgen.forms.kinds import KINDS
from lib_ctrlgen.preprocessors import params_of, preprocessors
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.blend import BLEND_TAKES, TAKES, BlendMode
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.reference import Combine, Role
from lib_ctrlgen.request.sampler_names import SCHEDULERS
from lib_ctrlgen.request.unit import ControlMode, ResizeMode
from lib_ctrlgen.serve.answers import ModelsAnswer
from lib_ctrlgen.serve.limits import Limits

NO_PREPROCESSOR = "none"


def names_of(models: ModelsAnswer, limits: Limits) -> dict[str, Any]:
    """The names and parameters for the page's cards, as JSON types."""
    files = (*map(control_file, models.controls), *fileless())
    return {
        "checkpoints": models.checkpoints,
        "samplers": models.samplers,
        "schedulers": list(SCHEDULERS),
        "side": limits.side,
        "files": [_file(file) for file in files],
        "kinds": _kinds(files),
        **_constant(catalogue.PREPROCESSORS, catalogue.CONTROLS),
    }


def control_file(name: str) -> ControlFile:
    """What a control file can be for, by its name without folders."""
    return replace(file_of(PurePosixPath(name).name), name=name)


@lru_cache(maxsize=2)
def _constant(
    preprocessor_entries: tuple[catalogue.Entry, ...], control_entries: tuple[catalogue.Entry, ...]
) -> dict[str, Any]:
    """What depends on no model: the choices of fields, and all parameters."""
    del preprocessor_entries  # `preprocessors()` reads them; here they are a part of the cache's key
    return {
        "preprocessors": [
            {"name": each.name, "title": each.title, "params": _params(params_of(each))}
            for each in preprocessors()
        ],
        "families": {each.name: _params(each.params) for each in control_entries},
        "fields": {each.name: list(each.fields) for each in control_entries},
        "control_modes": get_args(ControlMode),
        "resize_modes": get_args(ResizeMode),
        "combine": get_args(Combine),
        "roles": get_args(Role),
        "blend_modes": {
            mode: {"concept": sorted(TAKES[mode]), "blend": sorted(BLEND_TAKES[mode])}
            for mode in get_args(BlendMode)
        },
    }


def _params(params: Iterable[Param]) -> list[dict[str, Any]]:
    """The parameters that a card has a dial for; pictures and embeddings have none."""
    return [msgspec.to_builtins(each) for each in params if not each.uploaded]


def _file(file: ControlFile) -> dict[str, Any]:
    """A control file, or a family without one: then its `model` is empty."""
    alone = catalogue.without_model(file.control)
    return {
        "title": file.name,
        "model": "" if alone else file.name,
        "control": file.control,
        "kinds": file.kinds,
    }


def _kinds(files: Sequence[ControlFile]) -> dict[str, Any]:
    """The kinds that some file can be for, each with the fields of a unit that choosing it sets."""
    return {kind: _kind(kind, files) for kind in offered(files)}


def _kind(kind: str, files: Sequence[ControlFile]) -> dict[str, Any]:
    file = best_file(kind, files)
    assert file is not None  # the kind is offered
    values = unit_values(kind, file, best_preprocessor(kind, file, _needs_no_weights))
    unit: dict[str, Any] = {
        "preprocessor": values["preprocessor"],
        "weight": values["weight"],
        "guidance_start": values["guidance_start"],
        "guidance_end": values["guidance_end"],
        "params": {},
    }
    if catalogue.without_model(file.control):
        unit |= {"model": "", "control": file.control}
    else:
        unit |= {"model": file.name, "control": catalogue.AUTO}
    if file.control == "ip_adapter" and values[WEIGHT_TYPE] != "linear":
        unit["params"] = {"weight_type": values[WEIGHT_TYPE]}
    return {"label": KINDS[kind].label, "about": KINDS[kind].about, "unit": unit}


def _needs_no_weights(name: str) -> bool:
    return name == NO_PREPROCESSOR or any(
        each.name == name and not each.needs_weights for each in preprocessors()
    )
