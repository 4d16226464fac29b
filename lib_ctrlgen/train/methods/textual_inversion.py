"""Trains an embedding: the vectors of one new word, while every network stays as it is.

Gal et al. 2022, An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.checkpoints.text_encoder import TextEncoder
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.forward import call_unet, encode_captions, tokens_of

from .base import Base, TrainingMethod, frozen
from .embedding_file import write_embedding


class TextualInversion(TrainingMethod):
    """An embedding of some vectors for each text encoder."""

    name: ClassVar[str] = "textual-inversion"
    encodes_text = True

    def __init__(self, spec: TrainingSpec, base: Base, vectors: Sequence[Tensor]) -> None:
        self.spec, self.base = spec, base
        self.vectors = nn.ParameterList([nn.Parameter(each.clone()) for each in vectors])
        self._word = spec.token_word()

    @classmethod
    def create(cls, spec: TrainingSpec, base: Base) -> TextualInversion:
        """Make the vectors from those of the initial words. Raises RequestError for words without tokens."""
        encoders = base.networks.text_encoders
        return cls(spec, base, [initial_vectors(each, spec.initial, spec.vectors) for each in encoders])

    def about(self) -> str:
        """The number of vectors and of parameters."""
        count = sum(each.numel() for each in self.vectors)
        said = "1 vector" if self.spec.vectors == 1 else f"{self.spec.vectors} vectors"
        start = f"from {self.spec.initial!r}" if self.spec.initial else "from the mean of all words"
        return f"an embedding {self.spec.token!r} of {said}, starting {start}: {count:,} parameters"

    def module(self) -> nn.Module:
        """The vectors [n, X] of each text encoder."""
        return self.vectors

    def groups(self) -> list[dict[str, Any]]:
        """All vectors."""
        return [{"params": list(self.vectors), "lr": self.spec.lr}]

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Let the text encoders read a token of a negative number -k as the embedding's vector k - 1."""
        networks = self.base.networks
        encoders = [text.encoder for text in networks.text_encoders]
        with ExitStack() as stack:
            stack.enter_context(frozen(networks.unet, *encoders))
            for encoder, vectors in zip(encoders, self.vectors, strict=True):
                stack.enter_context(_vectors_at_negative_tokens(encoder.get_input_embeddings(), vectors))
            yield

    def split(self, caption: str, encoder: TextEncoder) -> list[int]:
        """The tokens of a caption, -1, -2, ... where the embedding's word is."""
        first, *others = self._word.split(caption)
        own = [-1 - number for number in range(self.spec.vectors)]
        found = tokens_of(first, encoder)
        for other in others:
            found = [*found, *own, *tokens_of(other, encoder)]
        return found

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The U-Net's output for captions with the embedding."""
        networks = self.base.networks
        text = encode_captions(networks, batch.captions, self.split)
        return call_unet(networks, noisy, timesteps, text, batch.sizes)

    def shown(self) -> Networks:
        """Networks whose tokenizers know the embedding's word."""
        networks = self.base.networks
        encoders = [replace(each, tokenizer=WordTokenizer(self, each)) for each in networks.text_encoders]
        return replace(networks, text_encoders=tuple(encoders))

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the WebUI's format."""
        write_embedding([each.detach().cpu().float() for each in self.vectors], path, metadata)


class WordTokenizer:
    """A text encoder's tokenizer that gives -1, -2, ... for the word of an embedding."""

    def __init__(self, method: TextualInversion, encoder: TextEncoder) -> None:
        self._method, self._encoder = method, encoder

    def __call__(self, text: str, **_options: Any) -> dict[str, list[int]]:
        """The tokens of a text, without those of its start and end."""
        return {"input_ids": self._method.split(text, self._encoder)}

    def __getattr__(self, name: str) -> Any:
        """What the tokenizer has."""
        return getattr(self._encoder.tokenizer, name)


def initial_vectors(encoder: TextEncoder, words: str, count: int) -> Tensor:
    """Vectors [count, X] spread over those of the words' tokens; of no words, the mean of all tokens.

    Raises RequestError if there are more tokens than vectors.
    """
    table: Tensor = encoder.encoder.get_input_embeddings().weight.detach().float()
    if not words.strip():
        return table.mean(0).expand(count, -1)
    tokens = tokens_of(words, encoder)
    if len(tokens) > count:
        raise RequestError(
            "$.initial", f"{words!r} has {len(tokens)} tokens, but the embedding {count} vectors"
        )
    return table[[tokens[number * len(tokens) // count] for number in range(count)]]


@contextmanager
def _vectors_at_negative_tokens(table: nn.Embedding, vectors: Tensor) -> Iterator[None]:
    """Let an embedding layer give `vectors[k]` for the token -1 - k."""
    asked: list[Tensor] = []

    def before(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        asked.append(args[0])
        return (args[0].clamp(min=0), *args[1:])

    def after(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        tokens = asked.pop()
        own = vectors.to(output)[(-1 - tokens).clamp(min=0)]
        return torch.where((tokens < 0)[..., None], own, output)

    hooks = (table.register_forward_pre_hook(before), table.register_forward_hook(after))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
