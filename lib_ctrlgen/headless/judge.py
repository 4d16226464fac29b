"""Scores that need networks: likeness to a reference picture and to the prompt, in CLIP's space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.controls import control_for
from lib_ctrlgen.controls.base import identify_file
from lib_ctrlgen.controls.vision import EncoderFolder, encoders, load_tower
from lib_ctrlgen.images import decode_image
from lib_ctrlgen.spec import ControlUnit, GenerationRequest
from lib_ctrlgen.tuner.scores import Scores, adherence, cosine, over_control
from lib_ctrlgen.weights import read_tensors

from .engine import Engine

PROJECTION = "text_projection.safetensors"
NO_TOWER = "there is no CLIP vision encoder in the model folders"
NO_PROJECTION = (
    f"no CLIP vision encoder in the model folders has the text's projection beside it ({PROJECTION})"
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores pictures with an engine's models."""

    engine: Engine

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """Every score of a picture; `free` is the uncontrolled one of the same seed."""
        found = Scores()
        for index, unit in request.enabled_units:
            found |= (
                self.reference(picture, unit, index) if self.looks(unit) else adherence(picture, unit, index)
            )
        if free is not None:
            found |= over_control(picture, free)
        return found | self.prompt(picture, request)

    def looks(self, unit: ControlUnit) -> bool:
        """Whether a unit is an IP-Adapter: its picture is a reference, not a map."""
        store = self.engine.store
        return control_for(store.get(store.resolve(unit.model), identify_file)).name == "ip_adapter"

    def reference(self, picture: Image.Image, unit: ControlUnit, index: int) -> Scores:
        """Cosine of both pictures' embeddings, -1..1. Named `reference.INDEX`."""
        tower = self._tower()
        if tower is None:
            return Scores({}, {f"reference.{index}": NO_TOWER})
        given = decode_image(unit.image, f"$.units[{index}].image")
        pair = [self.embedding(image, tower) for image in (picture, given)]
        return Scores({f"reference.{index}": cosine(*pair)})

    def prompt(self, picture: Image.Image, request: GenerationRequest) -> Scores:
        """Cosine of the picture's and the prompt's embeddings, -1..1."""
        tower = next((t for t in encoders(self.engine.store) if (t.path / PROJECTION).is_file()), None)
        if tower is None:
            return Scores({}, {"prompt": NO_PROJECTION})
        if not request.prompt.strip():
            return Scores({}, {"prompt": "the request has no prompt"})
        text = self.text(request, tower.path / PROJECTION)
        return Scores({"prompt": cosine(self.embedding(picture, tower), text)})

    def _tower(self) -> EncoderFolder | None:
        return next(iter(encoders(self.engine.store)), None)

    def embedding(self, picture: Image.Image, folder: EncoderFolder) -> NDArray[np.float32]:
        """A picture's embedding [P]."""
        tower = load_tower(self.engine.store, folder, torch.device("cpu"), torch.float32)
        with torch.no_grad():
            found = tower.feature(tower.pixels(picture), "pooled")
        return np.asarray(found[0].float().numpy())

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
