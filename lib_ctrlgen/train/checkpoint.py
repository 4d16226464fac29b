"""Checkpoints of a training: written whole or not at all, and read only for the training they belong to."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import fields

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import whole_file
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.request.training import CHANGEABLE, TrainingSpec
from lib_ctrlgen.request.training_state import RESTART_ADVICE

NAME = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a training is made from.

    pictures  the hash of its pictures
    models    by a field that names a file of weights, what changes with the file
    """

    spec: TrainingSpec
    pictures: str
    models: Mapping[str, str]


def save_checkpoint(folder: Path, sources: Sources, state: dict[str, Any]) -> None:
    """Write the state of a training. Raises HostError."""
    known = {
        "spec": to_payload(sources.spec, whole=True),
        "pictures": sources.pictures,
        "models": dict(sources.models),
    }
    with whole_file(folder / NAME) as stream:
        torch.save({**state, **known}, stream)


def load_checkpoint(folder: Path, sources: Sources) -> dict[str, Any] | None:
    """The state of an interrupted training, None if there is none.

    Raises RequestError if the training was another one, and HostError for a broken file.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        before, own = state["spec"], to_payload(sources.spec, whole=True)
        models, pictures = state["models"], state["pictures"]
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise HostError(f"{path} cannot be read: {RESTART_ADVICE}") from error
    plain = {each.name: each.default for each in fields(TrainingSpec)}  # of fields that are new since then
    for name in sorted(before.keys() | own.keys()):
        known = before.get(name, plain.get(name))
        if name not in CHANGEABLE and known != own.get(name):
            raise RequestError(
                f"$.{name}",
                f"in {folder} it is {known!r}, not {own.get(name)!r}: {RESTART_ADVICE}",
            )
    for name, key in sources.models.items():
        if models.get(name) != key:
            message = f"in {folder} it was another file, or was changed or moved since: {RESTART_ADVICE}"
            raise RequestError(f"$.{name}", message)
    if pictures != sources.pictures:
        raise RequestError(
            "$.pictures", f"{folder} holds a training on other pictures or captions: {RESTART_ADVICE}"
        )
    return state
