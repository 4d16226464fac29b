"""The routes of trainings, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_answers import TrainingAnswer, TrainingPicture, TrainingRemoved
from lib_ctrlgen.request.training_check import CheckedTraining

from .routes import Query, Route
from .schemas import Schema, schema_of

ONE = "train/{name}"
BODY = {
    "name": "mug",
    "kind": "lora",
    "base": "v1-5-pruned-emaonly",
    "pictures": "mug",
    "captions": "a photo of a mug, {name}",
    "steps": 800,
}
COST = {
    "text": "about 3.1 GB of GPU memory beyond the model (9.8 GB are free), about 17 min (14 min for the "
    "steps, 3 min for the validations), about 0.3 GB of disk",
    "memory": "GPU",
    "bytes": 3328599654,
    "free": 10522669875,
    "seconds": 1020.0,
    "times": {"prior": 0.0, "encoding": 0.0, "steps": 840.0, "validations": 180.0},
    "parameters": 3188736,
    "disk": 322122547,
    "disk_free": 107374182400,
}
ABOUT = "a LoRA of rank 16 for 192 layers of the U-Net: 3,188,736 parameters"
CHECKED = {"about": ABOUT, "training": 11, "held_out": 1, "warnings": [], "cost": COST}
STATE: dict[str, Any] = {
    "name": "mug",
    "kind": "lora",
    "file": "mug.safetensors",
    "folder": "/webui/ctrlgen-training/mug",
    "state": "training",
    "step": 240,
    "steps": 800,
    "loss": 0.113,
    "held_out": 0.121,
    "likeness": 0.78,
    "accuracy": 0.27,
    "seconds_left": 588.0,
    "previews": ["previews/000200-0.png"],
    "warnings": [],
    "about": ABOUT,
    "cost": COST["text"],
    "error": "",
    "report": False,
}


def body() -> Schema:
    """The schema of a training's body: the spec with a name instead of `out`, and the pictures."""
    spec = schema_of(TrainingSpec)
    own: Schema = {
        "name": {"type": "string", "description": "of the training, and of the file that it makes"},
        "install": {
            "type": "boolean",
            "default": False,
            "description": "whether packages that are missing may be installed into CtrlGen's own folder; "
            "the WebUI's settings must allow it, too",
        },
        "unload": {
            "type": "boolean",
            "default": False,
            "description": "whether the WebUI's checkpoint leaves the GPU's memory until the training ends",
        },
    }
    pictures: Schema = {
        "description": "a folder inside the allowed ones, or uploaded pictures",
        "anyOf": [{"type": "string"}, {"type": "array", "items": schema_of(TrainingPicture)}],
    }
    fields = {**spec["properties"], "pictures": pictures}
    fields.pop("out")
    needed = [name for name in spec.get("required", ()) if name != "out"]
    return {
        **spec,
        "title": "TrainingJob",
        "properties": {**own, **fields},
        "required": ["name", *needed],
    }


def training_routes() -> tuple[Route, ...]:
    """The routes that check, start and list trainings, then those of one training."""
    return (*start_routes(), *state_routes(), *change_routes())


def start_routes() -> tuple[Route, ...]:
    """The routes that check and start a training."""
    return (
        Route(
            method="POST",
            path="train/check",
            summary="Check a training",
            description="Checks the pictures, and estimates memory, time and disk in a process that ends; "
            "nothing is trained. It takes from seconds to minutes, because the checkpoint is loaded.",
            body=body(),
            body_example=BODY,
            answer=schema_of(CheckedTraining),
            answer_example=CHECKED,
            errors=(401, 422),
        ),
        Route(
            method="POST",
            path="train",
            summary="Start a training",
            description="Starts a process that checks the pictures and the cost, then trains. The finished "
            "file is put where the WebUI finds it. One training runs at a time.",
            body=body(),
            body_example=BODY,
            answer=schema_of(TrainingAnswer),
            answer_example={**STATE, "state": "starting"},
            status=202,
            errors=(401, 409, 422),
        ),
        Route(
            method="GET",
            path="train",
            summary="All trainings",
            description="All trainings, the newest first.",
            answer={"title": "Trainings", "type": "array", "items": schema_of(TrainingAnswer)},
            answer_example=[STATE],
        ),
    )


def state_routes() -> tuple[Route, ...]:
    """The routes that read one training."""
    return (
        Route(
            method="GET",
            path=ONE,
            summary="A training",
            description="The state of a training, also of one that was started before the WebUI.",
            inside=("name",),
            answer=schema_of(TrainingAnswer),
            answer_example=STATE,
            errors=(401, 404),
        ),
        Route(
            method="GET",
            path=ONE + "/files/{path:path}",
            summary="A file of a training",
            description="A file of the training's run, such as `report.html` or `previews/000200-0.png`.",
            inside=("name", "path"),
            answer=None,
            errors=(401, 404),
        ),
    )


def change_routes() -> tuple[Route, ...]:
    """The routes that stop, resume and remove one training."""
    shared: dict[str, Any] = {"inside": ("name",), "answer": schema_of(TrainingAnswer)}
    return (
        Route(
            method="POST",
            path=f"{ONE}/stop",
            summary="Stop a training",
            description="Asks a training to write a checkpoint and end after its current step.",
            answer_example={**STATE, "state": "stopping"},
            errors=(401, 404, 409),
            **shared,
        ),
        Route(
            method="POST",
            path=f"{ONE}/resume",
            summary="Resume a training",
            description="Goes on from the last checkpoint of a training that was stopped or failed. "
            "`install` allows to install missing packages into CtrlGen's own folder; the settings must, too.",
            query=(Query(name="install", default=False),),
            answer_example={**STATE, "state": "starting"},
            errors=(401, 404, 409, 422),
            **shared,
        ),
        Route(
            method="DELETE",
            path=ONE,
            summary="Remove a training",
            description="Removes the folder of a training that does not run; its finished file stays.",
            inside=("name",),
            answer=schema_of(TrainingRemoved),
            answer_example={"removed": "mug"},
            errors=(401, 404, 409),
        ),
    )
