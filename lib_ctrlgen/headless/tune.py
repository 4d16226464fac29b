"""`ctrlgen tune`: the headless engine as the tuner's host, with the likeness to the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.stack import alike
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.likeness import TextTower, picture_scores, prompt_score
from lib_ctrlgen.tuner.scores import Scores
from lib_ctrlgen.tuner.work import Made

from .engine import Engine, Generation
from .outputs import png_info


@dataclass(frozen=True, kw_only=True)
class EngineHost:
    """Makes and judges pictures with an engine."""

    engine: Engine

    def batch(self, payload: Mapping[str, Any], seeds: int) -> GenerationRequest:
        """A cell's request with as many pictures as there are seeds. Raises RequestError."""
        request = parse_request(dict(payload), GenerationRequest)
        if seeds > 1 and request.batch_size > 1:
            message = "the request makes several pictures by itself: leave batch_size out"
            raise RequestError("$.tune.seeds", message)
        return replace(request, batch_size=seeds) if seeds > 1 else request

    def alike(self, request: GenerationRequest) -> str:
        """What requests must have in common to be made together."""
        return key_of(to_payload(alike(request) or request, whole=True))

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Made]:
        """Make the pictures of requests that are alike."""
        if alike(requests[0]) is None:
            generations = [self.engine.generate(request) for request in requests]
        else:
            generations = self.engine.together(requests)
        return [made_of(request, each) for request, each in zip(requests, generations, strict=True)]

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """Every score of a picture."""
        return picture_scores(picture, free, request, self.engine.store) | self.prompt(picture, request)

    def prompt(self, picture: Image.Image, request: GenerationRequest) -> Scores:
        """Likeness to the prompt."""
        first = self.engine.load(request.model).towers[0]
        tower = TextTower(tokenizer=first.tokenizer, transformer=first.encoder) if first.whole else None
        return prompt_score(picture, request.prompt, request.prompt_weights, tower, self.engine.store)


def made_of(request: GenerationRequest, generation: Generation) -> Made:
    """A generation's pictures, each with what is written into its file."""
    said = generation.warnings
    infos = tuple(png_info(request, seed, number, said) for number, seed in enumerate(generation.seeds))
    return Made(images=generation.images, seeds=generation.seeds, infos=infos)
