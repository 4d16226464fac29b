"""The headless engine as the tuner's host, for `ctrlgen tune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.check import Checker
from lib_ctrlgen.tuner.open_seed import require_seeds
from lib_ctrlgen.tuner.recipe import PICTURES, linked
from lib_ctrlgen.tuner.scoring.clip_likeness import ClipTextEncoder, Likeness, plain_text
from lib_ctrlgen.tuner.scoring.measure import ScoreInputs, measure_all
from lib_ctrlgen.tuner.scoring.scores import Scores
from lib_ctrlgen.tuner.worker import CellPictures

from .engine import Engine, Generation, find_model
from .job_text import yaml_text
from .outputs import picture_infos
from .sampling.conditions import parse_prompts
from .sampling.run import Progress


@dataclass(frozen=True, kw_only=True)
class EngineHost:
    """Generates and scores the pictures of cells with an engine.

    encoder_name  the CLIP vision encoder that measures likeness; empty: one is chosen
    progress      called after every call of the U-Net; what it raises ends the run
    """

    engine: Engine
    encoder_name: str = ""
    progress: Progress | None = None
    recommended: ClassVar[str] = "recommended.yaml"
    use: ClassVar[str] = (
        "It is a job file: save it beside this report as job.yaml, then run: ctrlgen run job.yaml"
    )

    @cached_property
    def checker(self) -> Checker:
        """Checks units against the engine's models."""
        return Checker(self.engine.store)

    @cached_property
    def likeness(self) -> Likeness:
        """Measures CLIP likeness with the engine's models. Raises RequestError."""
        return Likeness.of(self.engine.store, self.encoder_name)

    @property
    def encoder(self) -> str:
        """The CLIP vision encoder that measures likeness, `name [hash]`. Raises RequestError."""
        return self.likeness.label

    def batch(self, payload: Mapping[str, Any], seeds: int) -> GenerationRequest:
        """The request of a cell, with one picture for each seed. Raises RequestError."""
        request = require_seeds(parse_request(dict(payload), GenerationRequest))
        if seeds > 1 and request.batch_size > 1:
            message = (
                "the request itself has a batch_size: leave it out, `seeds` says how many pictures a cell has"
            )
            raise RequestError("$.tune.seeds", message)
        self.check(request)
        return replace(request, batch_size=seeds) if seeds > 1 else request

    def check(self, request: GenerationRequest) -> None:
        """Raise RequestError for models, samplers, prompts, preprocessors and parameters that are wrong."""
        with at_path("$.model"):
            find_model(self.engine.store, request.model)
        parse_prompts(request)
        self.checker.check(request)

    def recipe(self, request: GenerationRequest, folder: Path, files: Sequence[str]) -> str:
        """A job file for the tuner's folder that makes all pictures of the cell again."""
        del files
        job = yaml_text(linked(request, folder))
        return f"# A cell of a tuner's run. Keep this file in the tuner's folder, beside {PICTURES}/.\n{job}"

    def alike(self, request: GenerationRequest) -> str:
        """A text that is equal for requests that can be sampled as one batch."""
        return key_of(to_payload(alike(request) or request, whole=True))

    def on_this_machine(self, request: GenerationRequest) -> GenerationRequest:
        """The request with its models under the names that they have on this machine."""
        return request

    def generate(self, requests: Sequence[GenerationRequest]) -> list[CellPictures]:
        """Make the pictures of requests that are alike. Their files record the given requests."""
        made = self.generations([self.on_this_machine(request) for request in requests])
        return [pictures_of(request, each) for request, each in zip(requests, made, strict=True)]

    def generations(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """The generations of requests that are alike."""
        if None in map(alike, requests):
            return [self.engine.generate(request, self.progress) for request in requests]
        return self.engine.together(requests, self.progress)

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """All scores of a picture."""
        with self.engine.threads.as_last():
            inputs = ScoreInputs(
                picture=picture,
                uncontrolled=free,
                request=request,
                likeness=self.likeness,
                prompt=plain_text(request.prompt, request.prompt_weights),
                text_encoder=self.text_encoder(request),
                device=str(self.engine.place.device),
            )
            return measure_all(inputs)

    def text_encoder(self, request: GenerationRequest) -> ClipTextEncoder | None:
        """The checkpoint's first text encoder; None where a part of it is missing."""
        first = self.engine.load(request.model).text_encoders[0]
        return ClipTextEncoder(tokenizer=first.tokenizer, transformer=first.encoder) if first.whole else None


def pictures_of(request: GenerationRequest, generation: Generation) -> CellPictures:
    """The pictures of a generation, with the text chunks for each file."""
    return CellPictures(
        images=generation.images,
        seeds=generation.seeds,
        infos=picture_infos(request, generation),
        warnings=generation.warnings,
    )
