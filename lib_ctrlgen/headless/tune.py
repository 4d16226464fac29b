"""`ctrlgen tune`: the headless engine as the tuner's host, with the likeness to the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.controls.vision import encoders
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.stack import alike
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.likeness import embedding, picture_scores
from lib_ctrlgen.tuner.scores import Scores, cosine
from lib_ctrlgen.tuner.work import Made
from lib_ctrlgen.weights import read_tensors

from .engine import Engine, Generation
from .outputs import png_info

PROJECTION = "text_projection.safetensors"
NO_PROJECTION = (
    f"no CLIP vision encoder in the model folders has the text's projection beside it ({PROJECTION})"
)


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
        """Cosine of the picture's and the prompt's embeddings, -1..1."""
        store = self.engine.store
        tower = next((t for t in encoders(store) if (t.path / PROJECTION).is_file()), None)
        if tower is None:
            return Scores({}, {"prompt": NO_PROJECTION})
        if not request.prompt.strip():
            return Scores({}, {"prompt": "the request has no prompt"})
        text = self.text(request, tower.path / PROJECTION)
        return Scores({"prompt": cosine(embedding(picture, tower, store), text)})

    def text(self, request: GenerationRequest, projection: Path) -> NDArray[np.float32]:
        """The prompt's embedding [P], its weights left out."""
        networks: Any = self.engine.load(request.model)
        tensors = self.engine.store.get(projection, read_tensors)
        weight = tensors["text_projection.weight"].float()
        ids = networks.tokenizer(
            request.prompt, truncation=True, max_length=77, padding="max_length", return_tensors="pt"
        )["input_ids"]
        with torch.no_grad():
            pooled = networks.text_encoder(ids.to(networks.text_encoder.device)).pooler_output
        return np.asarray((pooled[0].float().cpu() @ weight.T).numpy())


def made_of(request: GenerationRequest, generation: Generation) -> Made:
    """A generation's pictures, each with what is written into its file."""
    infos = tuple(png_info(request, seed) for seed in generation.seeds)
    return Made(images=generation.images, seeds=generation.seeds, infos=infos)
