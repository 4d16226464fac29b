"""A worker that generates cells with a headless engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.models.bundled import bundled_folders, bundled_tokenizer
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import Task, Worker

from .actor import CellOutcomes, CellRequest, Maker
from .models import Models, with_local_names


@dataclass(frozen=True, kw_only=True)
class EngineRecipe:
    """Builds an engine over model folders.

    tokenizer: a folder that exists on every node, None for the bundled tokenizer; encoder: the CLIP vision
    encoder that measures likeness.
    """

    models: Models
    tokenizer: str | None = None
    encoder: str = ""
    cores: int = 1
    gpus: int = 0
    restartable: bool = True

    @property
    def options(self) -> Mapping[str, Any]:
        """The CPU cores and GPUs that the engine needs."""
        return {"num_cpus": self.cores, "num_gpus": self.gpus}

    def build(self) -> Maker:
        """Build the engine on this node. Raises HostError for a model folder that is missing here."""
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        torch.set_num_threads(self.cores)
        tokenizer = Path(self.tokenizer) if self.tokenizer else bundled_tokenizer()
        folders = (*self.models.local_folders(), *bundled_folders())
        engine = Engine(folders, place=Place.best(tokenizer))
        return EngineMaker(NodeHost(engine=engine, models=self.models, encoder_name=self.encoder))


@dataclass(frozen=True, kw_only=True)
class NodeHost(EngineHost):
    """An engine host on a node whose model folders are not those of the machine that wrote the requests."""

    models: Models

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """All scores of a picture."""
        return super().scores(picture, free, self.on_this_machine(request))

    def on_this_machine(self, request: GenerationRequest) -> GenerationRequest:
        """The request with its models under the names that they have on this node."""
        return parse_request(
            with_local_names(to_payload(request, whole=True), self.models), GenerationRequest
        )


@dataclass
class EngineMaker:
    """Makes cells with an engine; pictures without controls are kept in a temporary folder."""

    host: EngineHost
    folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="ctrlgen-"))

    def __post_init__(self) -> None:
        self.worker = Worker(self.host, Path(self.folder.name))

    def make(self, cells: Sequence[CellRequest]) -> CellOutcomes:
        """Make the cells, as many in one batch as on a single machine."""
        stack = [Task(key=key, request=parse_request(payload, GenerationRequest)) for key, payload in cells]
        return [(task.key, outcome) for task, outcome in self.worker.each([stack])]

    def stop(self) -> None:
        """Remove the temporary folder."""
        self.folder.cleanup()
