"""The features of a box's phrase and picture, as GLIGEN's position net reads them.

Li et al. 2023, GLIGEN: Open-Set Grounded Text-to-Image Generation; numbers of its official code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.clip_vision import EncoderFolder, VisionTower, find_encoder, load_tower
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp

LENGTH = 28.7  # of a picture's feature: about that of a phrase's
PROJECTION = "text_projection.weight"


@dataclass(frozen=True, kw_only=True)
class PictureEncoder:
    """A CLIP vision encoder, and CLIP's text projection [P, H].

    The transpose of the projection turns a picture's embedding into one like a phrase's pooled output.
    """

    folder: EncoderFolder
    tower: VisionTower
    projection: Tensor

    def __call__(self, picture: Image.Image) -> Tensor:
        """A picture's feature [H] of length 28.7, on the CPU."""
        embedding = self.tower.feature(self.tower.pixels(picture), "pooled")[0].float().cpu()
        feature = embedding @ self.projection
        scaled: Tensor = feature / feature.norm() * LENGTH
        return scaled


def picture_encoder(target: Target, width: int, name: str = "") -> PictureEncoder:
    """The CLIP encoder for pictures' features of this width; `name` chooses among several.

    Raises ModelError where there is none, or where its file lacks CLIP's text projection.
    """
    folder = find_encoder(target.store, "pooled", width, name)
    tower = load_tower(target.store, folder, target.placement)
    projection = target.store.get(folder.weights, load_projection)
    if projection is None or projection.shape != (width, width):
        raise ModelError(
            f"GLIGEN needs CLIP's {PROJECTION} [{width}, {width}] for the pictures of boxes, and the image "
            f"encoder '{folder.name}' lacks it: take the whole CLIP model (openai/clip-vit-large-patch14)"
        )
    return PictureEncoder(folder=folder, tower=tower, projection=projection)


def load_projection(path: Path) -> Tensor | None:
    """CLIP's text projection [P, H] in float32; None for a file without it, such as a vision encoder's."""
    found = read_tensors(path, lambda key: key == PROJECTION).get(PROJECTION)
    return None if found is None else found.float()


def picture_feature(picture: Image.Image, encoder: PictureEncoder, target: Target) -> Tensor:
    """A picture's feature [H], computed once for each picture and encoder."""
    key = ("gligen picture", image_hash(picture), *stamp(encoder.folder.weights), target.placement)
    return target.store.cached(key, lambda: encoder(picture))


def phrase_feature(text: str, width: int, target: Target) -> Tensor:
    """A phrase's feature [H], computed once for each text and checkpoint.

    Raises ModelError for a phrase that is too long, and for a checkpoint whose text encoder does not fit.
    """
    if target.phrases is None:
        raise ModelError("GLIGEN reads phrases with the checkpoint's text encoder, and none is loaded")
    phrases = target.phrases
    found: Tensor = target.store.cached(("phrase", phrases.origin(), text), lambda: phrases.encode(text))
    if found.shape != (width,):
        raise ModelError(
            f"this GLIGEN reads phrases of {width} numbers, and the checkpoint's text encoder gives "
            f"{found.shape[-1]}: choose an SD1.x checkpoint"
        )
    return found.to(torch.float32)
