"""Likeness to an IP-Adapter's reference picture, in the space of a CLIP vision encoder."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.controls import control_for
from lib_ctrlgen.controls.base import identify_file
from lib_ctrlgen.controls.vision import EncoderFolder, encoders, load_tower
from lib_ctrlgen.images import decode_image
from lib_ctrlgen.spec import ControlRequest, ControlUnit
from lib_ctrlgen.store import ModelStore

from .scores import Scores, adherence, cosine, over_control

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
    tower = load_tower(store, folder, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        found = tower.feature(tower.pixels(picture), "pooled")
    return np.asarray(found[0].float().numpy())
