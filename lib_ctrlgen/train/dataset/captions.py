"""The encoded captions of a training, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.sampling.chunks import CHUNK
from lib_ctrlgen.headless.sampling.features import Features
from lib_ctrlgen.train.forward import encode_captions, tokens_of

from .cache import TensorCache


@dataclass(frozen=True)
class CaptionFeatures:
    """The features of each caption, [1, 77, X] and for SDXL [1, P], on the CPU."""

    rows: Mapping[str, Features]

    def of(self, captions: Sequence[str]) -> Features:
        """The features of captions as rows."""
        return Features.rows([self.rows[caption] for caption in captions])


def caption_features(networks: Networks, captions: Iterable[str], cached: TensorCache) -> CaptionFeatures:
    """Encode each caption, and the empty one, or read them from the cache."""
    return CaptionFeatures({text: _features(networks, text, cached) for text in {"", *captions}})


def _features(networks: Networks, caption: str, cached: TensorCache) -> Features:
    @torch.no_grad()
    def encode() -> dict[str, torch.Tensor]:
        found = encode_captions(networks, [caption])
        return {"states": found.states, **({} if found.pooled is None else {"pooled": found.pooled})}

    tensors = cached.get(("caption", caption), encode)
    return Features(tensors["states"], tensors.get("pooled"))


def long_captions(networks: Networks, captions: Iterable[str]) -> list[str]:
    """The captions with more than 75 tokens, of which the rest is not read."""
    encoder = networks.text_encoders[0]
    return sorted(text for text in set(captions) if len(tokens_of(text, encoder)) > CHUNK)
