"""Text and vision towers learned together by contrast (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer

from lib_ctrlgen.train.data import training_scene
from lib_ctrlgen.train.loop import Batch, Job, Settings
from lib_ctrlgen.train.networks import CONTEXT, VISION_SIZE, new_text, new_vision
from lib_ctrlgen.train.scenes import COLOURS, SHAPES, TEXTURES, Scene, draw
from lib_ctrlgen.train.words import caption

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SHORT = 32  # tokens that training looks at; later ones are padding and change nothing before them


class Towers(nn.Module):
    """Both towers, the text's projection, the temperature, and a probe for the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.text = new_text()
        self.vision = new_vision()
        self.text_projection = nn.Linear(CONTEXT, CONTEXT, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.probe = nn.Linear(CONTEXT, len(attributes(None)))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Ids [B, T] to unit vectors [B, 64]."""
        pooled = self.text(input_ids=ids).pooler_output
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)

    def embed_picture(self, pictures: Tensor) -> Tensor:
        """CLIP-normalised pictures [B, 3, 64, 64] to embeddings [B, 64], not normalised."""
        embeds: Tensor = self.vision(pixel_values=pictures).image_embeds
        return embeds.float()


def clip_job(name: str, towers: Towers, tokenizer: CLIPTokenizer, settings: Settings) -> Job:
    """Learn which caption belongs to which picture; frozen parts of the towers stay."""

    def batch(rng: np.random.Generator) -> Batch:
        scenes = [training_scene(rng) for _ in range(settings.batch)]
        ids = token_ids(tokenizer, [caption(scene, rng, drop=0.04) for scene in scenes])
        return {
            "picture": to_vision([draw(scene, VISION_SIZE * 2)[0] for scene in scenes]),
            "ids": ids[:, :SHORT],
            "attributes": torch.tensor([attributes(scene) for scene in scenes]),
        }

    def loss(data: Batch, _generator: torch.Generator) -> Tensor:
        embeds = towers.embed_picture(data["picture"])
        text = towers.embed_text(data["ids"])
        scale = towers.logit_scale.exp().clamp(max=100)
        logits = scale * functional.normalize(embeds, dim=-1) @ text.T
        target = torch.arange(len(logits))
        contrast = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        probed = functional.binary_cross_entropy_with_logits(towers.probe(embeds).float(), data["attributes"])
        return contrast / 2 + probed

    return Job(name=name, module=towers, batch=batch, loss=loss, settings=settings)


def attributes(scene: Scene | None) -> list[float]:
    """What a picture shows as zeros and ones: shapes, colours of shapes and ground, texture."""
    shapes = () if scene is None else scene.shapes
    back = None if scene is None else scene.background
    kinds = {shape.kind for shape in shapes}
    colours = {shape.colour for shape in shapes}
    found = [kind in kinds for kind in SHAPES] + [name in colours for name in COLOURS]
    found += [back is not None and back.colour == name for name in COLOURS]
    found += [back is not None and back.texture == name for name in TEXTURES]
    return [float(value) for value in found]


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Captions to ids [B, 77], padded with the end token."""
    encoded = tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    ids: Tensor = encoded["input_ids"]
    return ids


def to_vision(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """uint8 pictures [B][H, W, 3] to the vision tower's input [B, 3, 64, 64]."""
    size = (VISION_SIZE, VISION_SIZE)
    small = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])
    scaled = (small.astype(np.float32) / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32).copy())
