"""A host of trainings with one checkpoint, one adapter and one folder of pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.webui.training import packages, trainings
from lib_ctrlgen.webui.training.folder import Record, TrainingFolder
from lib_ctrlgen.webui.training.trainings import Trainings
from tests.support.training_process import write_program


class Places:
    """One checkpoint, one adapter, one folder of pictures."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def checkpoint(self, name: str) -> Path:
        if name != "base":
            raise RequestError("$.base", "there is no such checkpoint")
        return self.root / "base.safetensors"

    def model(self, name: str, path: str) -> Path:
        if name != "adapter":
            raise RequestError(path, "there is no such model")
        return self.root / "adapter.safetensors"

    def pictures(self, text: str, path: str) -> Path:
        if text != "mug":
            raise RequestError(path, "is outside")
        return self.root / "pictures"


class Host:
    """A host that notes what it is asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        self.ends: list[Record] = []

    def places(self, *, anywhere: bool) -> Places:
        del anywhere
        return Places(self.root)

    def target(self, kind: str) -> Path:
        return self.root / "models" / kind

    def model_folders(self) -> Sequence[Path]:
        return [self.root / "models"]

    def variables(self) -> Mapping[str, str]:
        return dict(os.environ)

    def require_memory(self, base: Path) -> None:
        self.said.append(base.name)

    def unload(self) -> None:
        self.said.append("unloaded")

    def ended(self, record: Record) -> None:
        self.ends.append(record)


def host_with_a_picture(tmp_path: Path) -> Host:
    """A host whose folder of pictures has one."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "view.png")
    return Host(tmp_path)


def quick_trainings(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Trainings whose process is a quick program, which needs no packages."""
    monkeypatch.setattr(trainings, "PACKAGE", write_program(tmp_path / "program"))
    monkeypatch.setattr(packages, "are_missing", lambda: False)
    return Trainings(tmp_path / "trainings", host)


def awaited(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def body(**fields: Any) -> dict[str, Any]:
    """A training of three steps with changed fields."""
    return {"name": "mug", "kind": "lora", "base": "base", "pictures": "mug", "steps": 3, **fields}


def state(made: Trainings, name: str, *wanted: str) -> Any:
    """The state of a training when it is one of the wanted ones."""

    def look() -> Any:
        training = made.find(name)
        answer = training.answer() if training else None
        return answer if answer and answer.state in wanted else None

    return awaited(look)


def found(made: Trainings, name: str = "mug") -> TrainingFolder:
    """The training of a name, which must be there."""
    training = made.find(name)
    assert training is not None
    return training
