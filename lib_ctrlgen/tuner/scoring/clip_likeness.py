"""Likeness to an IP-Adapter's reference picture and to the prompt, in the space of a CLIP vision encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.registry import control_for, identify_file
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.clip_vision import EncoderFolder, encoders, load_tower
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.prompts.emphasis import weigh
from lib_ctrlgen.prompts.scheduled import Named, parse_prompt
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit

from .scores import Scores, adherence, cosine, over_control

PROJECTION = "text_projection.safetensors"
NO_PROJECTION = (
    f"no CLIP vision encoder in the model folders has the text's projection beside it ({PROJECTION})"
)
OTHER_TEXT = "the checkpoint's text encoder is not the one of the CLIP vision encoder in the model folders"
LONGEST = 77  # tokens
NO_TOWER = "there is no CLIP vision encoder in the model folders"


def picture_scores(
    picture: Image.Image, free: Image.Image | None, request: ControlRequest, store: ModelStore
) -> Scores:
    """What every host can score: adherence, likeness to references, over-control."""
    found = Scores()
    for index, unit in request.enabled_units:
        if looks(unit, store):
            found |= reference(picture, unit, index, store)
        else:
            found |= adherence(picture, unit, index)
    return found if free is None else found | over_control(picture, free)


def looks(unit: ControlUnit, store: ModelStore) -> bool:
    """Whether a unit is an IP-Adapter: its picture is a reference, not a map."""
    return control_for(store.get(store.resolve(unit.model), identify_file)).name == "ip_adapter"


def reference(picture: Image.Image, unit: ControlUnit, index: int, store: ModelStore) -> Scores:
    """Cosine of both pictures' embeddings, -1..1. Named `reference.INDEX`."""
    tower = next(iter(encoders(store)), None)
    if tower is None:
        return Scores({}, {f"reference.{index}": NO_TOWER})
    given = decode_image(unit.image, f"$.units[{index}].image")
    return Scores(
        {f"reference.{index}": cosine(*(embedding(each, tower, store) for each in (picture, given)))}
    )


def embedding(picture: Image.Image, folder: EncoderFolder, store: ModelStore) -> NDArray[np.float32]:
    """A picture's embedding [P]."""
    tower = load_tower(store, folder, Placement(device=torch.device("cpu"), dtype=torch.float32))
    with torch.no_grad():
        found = tower.feature(tower.pixels(picture), "pooled")
    return np.asarray(found[0].float().numpy())


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """A checkpoint's CLIP text encoder, of transformers."""

    tokenizer: Any
    transformer: Any

    def pooled(self, text: str) -> Tensor:
        """The state of a text's end, [X]; what is longer than 77 tokens is cut off."""
        options = {"truncation": True, "max_length": LONGEST, "padding": "max_length"}
        ids = self.tokenizer(text, return_tensors="pt", **options)["input_ids"]
        device = next(self.transformer.parameters()).device
        with torch.no_grad():
            found: Tensor = self.transformer(ids.to(device)).pooler_output[0]
        return found.float().cpu()


def prompt_score(
    picture: Image.Image, prompt: str, named: Named, tower: TextTower | None, store: ModelStore
) -> Scores:
    """Cosine of the picture's and the prompt's embeddings, -1..1; weights are left out of the prompt."""
    seen = next((folder for folder in encoders(store) if (folder.path / PROJECTION).is_file()), None)
    if seen is None:
        return Scores({}, {"prompt": NO_PROJECTION})
    text = plain_text(prompt, named)
    if not text:
        return Scores({}, {"prompt": "the request has no prompt"})
    weight = store.get(seen.path / PROJECTION, read_tensors)["text_projection.weight"].float()
    pooled = tower.pooled(text) if tower else None
    if pooled is None or pooled.shape[0] != weight.shape[1]:
        return Scores({}, {"prompt": OTHER_TEXT})
    return Scores({"prompt": cosine(embedding(picture, seen, store), (pooled @ weight.T).numpy())})


def plain_text(prompt: str, named: Named) -> str:
    """A prompt without its weights.

    >>> plain_text("a (red:1.2) [star], (fog:0>1)", {})
    'a red star, fog'
    """
    pieces = weigh(parse_prompt(prompt).at(0.0, named))
    return "".join(piece.text or " " for piece in pieces).strip()
