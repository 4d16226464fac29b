"""Trains the text and the vision encoder by contrast (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from .data import training_scene
from .loop import Batch, Job, Settings
from .networks import CONTEXT, VISION_SIZE, new_text, new_vision
from .scenes import COLOURS, SHAPES, TEXTURES, Scene, draw
from .words import caption

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WORD_GROUPS = (SHAPES, tuple(COLOURS))
UNSAID = -100
NEARNESS = 0.03
SHORT = 32  # tokens that training uses; later ones are padding, which causal attention ignores


class ClipNetworks(nn.Module):
    """Text and vision encoder, the text projection, the temperature, and probes used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.text = new_text()
        self.vision = new_vision()
        self.text_projection = nn.Linear(CONTEXT, CONTEXT, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.probe = nn.Linear(CONTEXT, len(attributes(None)))
        self.word_probe = WordProbe()

    def project(self, pooled: Tensor) -> Tensor:
        """Project the text encoder's pooled states [B, 64] to unit vectors [B, 64]."""
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)

    def embed_picture(self, pictures: Tensor) -> Tensor:
        """Encode CLIP-normalised pictures [B, 3, 64, 64] to embeddings [B, 64], not normalised."""
        embeds: Tensor = self.vision(pixel_values=pictures).image_embeds
        return embeds.float()


class WordProbe(nn.Module):
    """Predicts from a token's state which word of a group occurred last, by cosine similarity.

    The contrastive loss alone allows states that hardly differ between shapes, and a U-Net trained on such
    states draws any shape. The probe's rows have unit length, so that only states that are far apart satisfy
    it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ParameterList(nn.Parameter(torch.randn(len(g), CONTEXT)) for g in WORD_GROUPS)

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Cross entropy for states [B, T, 64] and targets `words` [B, T, groups], -100 for none."""
        losses = [
            functional.cross_entropy(
                (states.float() @ functional.normalize(rows, dim=-1).T).flatten(0, 1),
                words[..., group].flatten(),
                ignore_index=UNSAID,
            )
            for group, rows in enumerate(self.rows)
        ]
        total: Tensor = torch.stack(losses).sum()
        return total


def last_words(tokenizer: CLIPTokenizer, ids: Tensor) -> Tensor:
    """For ids [B, T] the number of each group's last word so far, [B, T, groups]; -100 before the first."""
    answer = torch.full((*ids.shape, len(WORD_GROUPS)), UNSAID)
    for group, words in enumerate(WORD_GROUPS):
        for number, word in enumerate(words):
            answer[..., group][ids == tokenizer.convert_tokens_to_ids(f"{word}</w>")] = number
    for place in range(1, ids.shape[1]):
        here = answer[:, place]
        answer[:, place] = torch.where(here == UNSAID, answer[:, place - 1], here)
    return answer


def clip_job(
    name: str,
    towers: ClipNetworks,
    tokenizer: CLIPTokenizer,
    settings: Settings,
    near: CLIPTextModel | None = None,
) -> Job:
    """The job to match captions with pictures; frozen parts of the encoders stay as they are.

    `near` is a text encoder whose states the trained one stays close to, so that a U-Net that was trained on
    them can go on.
    """

    def batch(rng: np.random.Generator) -> Batch:
        scenes = [training_scene(rng) for _ in range(settings.batch)]
        ids = token_ids(tokenizer, [caption(scene, rng, drop=0.04) for scene in scenes])
        return {
            "picture": to_vision([draw(scene, VISION_SIZE * 2)[0] for scene in scenes]),
            "ids": ids[:, :SHORT],
            "words": last_words(tokenizer, ids[:, :SHORT]),
            "attributes": torch.tensor([attributes(scene) for scene in scenes]),
        }

    def loss(data: Batch, _generator: torch.Generator) -> Tensor:
        embeds = towers.embed_picture(data["picture"])
        read = towers.text(input_ids=data["ids"])
        text = towers.project(read.pooler_output)
        scale = towers.logit_scale.exp().clamp(max=100)
        logits = scale * functional.normalize(embeds, dim=-1) @ text.T
        target = torch.arange(len(logits))
        contrast = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        probed = functional.binary_cross_entropy_with_logits(towers.probe(embeds).float(), data["attributes"])
        total: Tensor = contrast / 2 + probed + towers.word_probe(read.last_hidden_state, data["words"])
        return total if near is None else total + NEARNESS * _moved(near, data["ids"], read.last_hidden_state)

    return Job(name=name, module=towers, batch=batch, loss=loss, settings=settings)


@torch.no_grad()
def _states(text: CLIPTextModel, ids: Tensor) -> Tensor:
    states: Tensor = text(input_ids=ids).last_hidden_state
    return states


def _moved(text: CLIPTextModel, ids: Tensor, states: Tensor) -> Tensor:
    """Mean squared distance of states [B, T, 64] from those of another tower."""
    return (states - _states(text, ids)).square().sum(-1).mean()


def attributes(scene: Scene | None) -> list[float]:
    """The attributes of a scene as zeros and ones: shapes, their colours, background colour and texture."""
    shapes = () if scene is None else scene.shapes
    back = None if scene is None else scene.background
    kinds = {shape.kind for shape in shapes}
    colours = {shape.colour for shape in shapes}
    found = [kind in kinds for kind in SHAPES] + [name in colours for name in COLOURS]
    found += [back is not None and back.colour == name for name in COLOURS]
    found += [back is not None and back.texture == name for name in TEXTURES]
    return [float(value) for value in found]


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Tokenize captions to ids [B, 77], padded with the end token."""
    encoded = tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    ids: Tensor = encoded["input_ids"]
    return ids


def to_vision(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Prepare uint8 pictures [B][H, W, 3] as the vision encoder's input [B, 3, 64, 64]."""
    size = (VISION_SIZE, VISION_SIZE)
    small = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])
    scaled = (small.astype(np.float32) / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32).copy())
