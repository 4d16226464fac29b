"""Likeness to an IP-Adapter's reference picture and to the prompt, in the space of a CLIP vision encoder.

One encoder measures both for all cells of a folder: the one that `tune.encoder` names, else the first
encoder by name that has a text projection beside it, else the first encoder by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.registry import control_for, identify_file
from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.bundled import TEXT_WIDTH, VISION
from lib_ctrlgen.models.clip_vision import EncoderFolder, encoder_named, encoders, load_tower
from lib_ctrlgen.models.hub_cache import in_hub_cache
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.prompts.emphasis import parse_emphasis
from lib_ctrlgen.prompts.networks import split_networks
from lib_ctrlgen.prompts.scheduled import Named, parse_prompt
from lib_ctrlgen.request.catalogue import family_entry, without_model
from lib_ctrlgen.request.spec import ControlUnit

from .scores import Scores, cosine

PROJECTION = "text_projection.safetensors"
NO_PROJECTION = f"the CLIP vision encoder {{name}} has no text projection beside it ({PROJECTION})"
OTHER_TEXT = "the checkpoint's text encoder does not belong to the CLIP vision encoder {name}"
LONGEST = 77  # tokens
NO_REFERENCE = "the unit has no picture for the whole generation"
NO_TOWER = "there is no CLIP vision encoder in the model folders"


def is_reference(unit: ControlUnit, store: ModelStore) -> bool:
    """Whether a unit's picture is a reference, not a control map: as that of an IP-Adapter."""
    if without_model(unit.control):
        return family_entry(unit.control).needs_image
    return control_for(store.get(store.resolve(unit.model), identify_file)).name == "ip_adapter"


def embedding(picture: Image.Image, folder: EncoderFolder, store: ModelStore) -> NDArray[np.float32]:
    """The CLIP embedding [P] of a picture."""
    tower = load_tower(store, folder, Placement(device=torch.device("cpu"), dtype=torch.float32))
    with torch.no_grad():
        found = tower.feature(tower.pixels(picture), "pooled")
    return np.asarray(found[0].float().numpy())


@dataclass(frozen=True, kw_only=True)
class ClipTextEncoder:
    """A checkpoint's CLIP text encoder (a transformers model) and its tokenizer."""

    tokenizer: Any
    transformer: Any

    def pooled(self, text: str) -> Tensor:
        """The pooled output [X] (the end token's state) of a text, which is cut to 77 tokens."""
        options = {"truncation": True, "max_length": LONGEST, "padding": "max_length"}
        ids = self.tokenizer(text, return_tensors="pt", **options)["input_ids"]
        device = next(self.transformer.parameters()).device
        with torch.no_grad():
            found: Tensor = self.transformer(ids.to(device)).pooler_output[0]
        return found.float().cpu()


def chosen_encoder(store: ModelStore, name: str = "") -> EncoderFolder | None:
    """The CLIP vision encoder that measures likeness; None if there is none.

    Raises RequestError at `$.tune.encoder` if no encoder has this name, which may end with a `[hash]`.
    """
    if name:
        with at_path("$.tune.encoder"):
            return encoder_named(store, name)
    return min(encoders(store), key=_rank, default=None)


def encoder_for(store: ModelStore, text_width: int) -> EncoderFolder | None:
    """The default CLIP vision encoder for pictures of a checkpoint whose text features are so wide.

    The bundled one has only seen coloured shapes: it is left out for any checkpoint but the bundled model.
    """
    found = [each for each in encoders(store) if each.path.name != VISION or text_width == TEXT_WIDTH]
    return min(found, key=_rank, default=None)


def no_encoder(store: ModelStore) -> str:
    """Why `encoder_for` finds no encoder."""
    found = encoders(store)
    return f"{found[0].name} has only seen the shapes of the bundled model" if found else NO_TOWER


def _rank(encoder: EncoderFolder) -> tuple[bool, bool, str]:
    """A sort key: the user's own folders before the Hub's cache, with a text projection first, by name."""
    return in_hub_cache(encoder.path), not has_projection(encoder), encoder.name


def has_projection(encoder: EncoderFolder) -> bool:
    """Whether an encoder has a text projection, so that prompts can be compared with pictures."""
    return (encoder.path / PROJECTION).is_file()


@dataclass(frozen=True)
class Likeness:
    """Measures likeness with a CLIP vision encoder; without one, it returns reasons instead of scores."""

    store: ModelStore
    encoder: EncoderFolder | None

    @classmethod
    def of(cls, store: ModelStore, name: str = "") -> Likeness:
        """Use the encoder of this name, or the default one. Raises RequestError at `$.tune.encoder`."""
        return cls(store, chosen_encoder(store, name))

    @cached_property
    def label(self) -> str:
        """The encoder's name and hash, `name [hash]`; empty without one."""
        return self.encoder.label(self.store) if self.encoder else ""

    def reference(self, picture: Image.Image, unit: ControlUnit, index: int) -> Scores:
        """The cosine of the embeddings of the picture and the unit's picture, -1..1, as `reference.INDEX`.

        Without a picture of its own, the unit's first further reference is taken.
        """
        name = f"reference.{index}"
        if self.encoder is None:
            return Scores({}, {name: NO_TOWER})
        further = (each.image for each in unit.references if each.role == "reference" and each.image)
        text = unit.image or next(further, "")
        if not text:
            return Scores({}, {name: NO_REFERENCE})
        given = decode_image(text, f"$.units[{index}].image")
        pair = (embedding(each, self.encoder, self.store) for each in (picture, given))
        return Scores({name: cosine(*pair)})

    def prompt(self, picture: Image.Image, text: str, tower: ClipTextEncoder | None) -> Scores:
        """The cosine of the embeddings of the picture and a text, -1..1, as `prompt`."""
        if self.encoder is None:
            return Scores({}, {"prompt": NO_TOWER})
        if not has_projection(self.encoder):
            return Scores({}, {"prompt": NO_PROJECTION.format(name=self.encoder.name)})
        if not text:
            return Scores({}, {"prompt": "the request has no prompt"})
        weight = self.store.get(self.encoder.path / PROJECTION, read_tensors)[
            "text_projection.weight"
        ].float()
        pooled = tower.pooled(text) if tower else None
        if pooled is None or pooled.shape[0] != weight.shape[1]:
            return Scores({}, {"prompt": OTHER_TEXT.format(name=self.encoder.name)})
        seen = embedding(picture, self.encoder, self.store)
        return Scores({"prompt": cosine(seen, (pooled @ weight.T).numpy())})


def plain_text(prompt: str, named: Named) -> str:
    """A prompt without its weights and its LoRAs.

    >>> plain_text("a (red:1.2) [star], (fog:0>1)<lora:style:1>0>", {})
    'a red star, fog'
    """
    pieces = parse_emphasis(parse_prompt(split_networks(prompt).text).at(0.0, named))
    return "".join(piece.text or " " for piece in pieces).strip()
