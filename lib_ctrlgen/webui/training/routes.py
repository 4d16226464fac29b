"""The REST routes of trainings: check one, start one, read its state and files, stop, resume, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import Body, HTTPException
from fastapi.responses import FileResponse

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.webui.settings import INSTALLS_LABEL, installs_packages
from lib_ctrlgen.webui.tuner.jobs import inside

from . import packages
from .folder import TrainingFolder
from .host import trainings

SHOWN = frozenset({".html", ".json", ".png", ".yaml"})


def check_training(payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Return what a training is and costs, without starting it. Raises RequestError."""
    require_installs(payload.get("install"))
    return plain(trainings().check(payload))


def post_training(payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Start a training. Raises RequestError, or TrainingConflictError while another one runs."""
    require_installs(payload.get("install"))
    return plain(trainings().start(payload))


def list_trainings() -> list[dict[str, Any]]:
    """Return all trainings, the newest first."""
    return [plain(answer) for answer in trainings().listed()]


def get_training(name: str) -> dict[str, Any]:
    """Return a training's state. Raises HTTPException 404."""
    return plain(found(name).answer())


def stop_training(name: str) -> dict[str, Any]:
    """Ask a training to end with a checkpoint. Raises HTTPException 404, or TrainingConflictError."""
    return plain(trainings().stop(found(name)))


def resume_training(name: str, install: bool = False) -> dict[str, Any]:
    """Go on from a training's last checkpoint. Raises HTTPException 404, or TrainingConflictError."""
    training = found(name)
    require_installs(install)
    return plain(trainings().resume(training, install=install))


def delete_training(name: str) -> dict[str, Any]:
    """Remove a training's folder; its finished file stays. Raises HTTPException 404."""
    trainings().remove(found(name))
    return {"removed": name}


def training_file(name: str, path: str) -> FileResponse:
    """Return a file of a training: report, previews, state. Raises HTTPException 404 for any other one."""
    file = inside(found(name).run, path)
    if file.suffix not in SHOWN:
        raise HTTPException(404, f"no file {path!r} in the training's folder")
    return FileResponse(file)


def require_installs(install: Any) -> None:
    """Raise RequestError if a client would install packages, and the WebUI's settings do not allow it."""
    if install is True and packages.are_missing() and not installs_packages():
        raise RequestError(
            packages.INSTALL,
            f"is not allowed over REST: start a training in the tab, run {packages.command()}, "
            f"or switch on the setting '{INSTALLS_LABEL}'",
        )


def found(name: str) -> TrainingFolder:
    """The training of a name. Raises HTTPException 404."""
    training = trainings().find(name)
    if training is None:
        raise HTTPException(404, f"no training named {name!r}")
    return training


def plain(answer: Any) -> dict[str, Any]:
    """An answer as JSON types."""
    made: dict[str, Any] = msgspec.to_builtins(answer)
    return made


def training_functions() -> dict[tuple[str, str], Callable[..., Any]]:
    """The function of each route, by its method and path."""
    one = "train/{name}"
    return {
        ("POST", "train/check"): check_training,
        ("POST", "train"): post_training,
        ("GET", "train"): list_trainings,
        ("GET", one): get_training,
        ("POST", f"{one}/stop"): stop_training,
        ("POST", f"{one}/resume"): resume_training,
        ("DELETE", one): delete_training,
        ("GET", one + "/files/{path:path}"): training_file,
    }
