"""Encodes prompts as the WebUI does: weights, BREAK, and chunks of 75 tokens, encoded separately."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.headless.checkpoints.text_encoder import TextEncoder
from lib_ctrlgen.models.embeddings.find import Embeddings
from lib_ctrlgen.prompts.blended import split_and
from lib_ctrlgen.prompts.emphasis import parse_emphasis

from .chunks import Chunk, chunks_of, framed
from .features import Features

REMEMBERED = 256  # chunks
EDIT_PIECE = re.compile(r"\\.|[()\[\]|:]", re.DOTALL)
EDIT_STEP = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")


@dataclass
class PromptEncoder:
    """Encodes prompts, and caches the encoded chunks by their tokens, independent of the weights.

    `embeddings` are those of textual inversion that prompts may name. `calls` counts how often a text encoder
    ran.
    """

    text_encoders: tuple[TextEncoder, ...]
    embeddings: Embeddings | None = None
    calls: int = 0
    _states: dict[Hashable, Features] = field(default_factory=dict)
    _change: Hashable = None

    @contextmanager
    def changed(self, change: Hashable) -> Iterator[None]:
        """Keep what is encoded inside apart: something changes the text encoders, which `change` names."""
        former, self._change = self._change, change
        try:
            yield
        finally:
            self._change = former

    def encode(self, texts: Sequence[str]) -> list[Features]:
        """Encode each text as one row of 77 n tokens, n being the number of chunks that it needs.

        A text of at most 75 tokens without weights gives exactly the embeddings of diffusers' pipelines. The
        channels of two text encoders are concatenated.
        """
        return [self._row(text) for text in texts]

    def encode_guided(self, negative: str, texts: Sequence[str]) -> list[Features]:
        """Encode the negative prompt and the texts. SDXL encodes an empty negative prompt as zeros."""
        uncond, *rows = self.encode([negative, *texts])
        nothing = negative == "" and uncond.pooled is not None
        return [uncond.zeros() if nothing else uncond, *rows]

    def _row(self, text: str) -> Features:
        """The features of one text. A text encoder that needs fewer chunks than another gets empty ones."""
        chunked = [
            chunks_of(text, tower.tokenizer, tower.pad, self.embeddings) for tower in self.text_encoders
        ]
        count = max(map(len, chunked))
        text_encoders = []
        for number, (tower, chunks) in enumerate(zip(self.text_encoders, chunked, strict=True)):
            empty = framed([], tower.tokenizer, tower.pad)
            filled = [*chunks, *[empty] * (count - len(chunks))]
            text_encoders.append(Features.chained([self._weighed(number, chunk) for chunk in filled]))
        return Features.beside(text_encoders)

    def _weighed(self, number: int, chunk: Chunk) -> Features:
        """The features [1, 77, X] of a chunk, multiplied by its weights and rescaled to their former mean.

        This is the WebUI's emphasis "Original"; the mean is restored for each text encoder separately.
        """
        found = self._encoded(number, chunk)
        if all(weight == 1.0 for weight in chunk.weights):
            return found
        states = found.states
        weights = torch.tensor(chunk.weights, device=states.device, dtype=states.dtype)
        weighed = states * weights[None, :, None]
        return Features(weighed * (states.mean() / weighed.mean()), found.pooled)

    def _encoded(self, number: int, chunk: Chunk) -> Features:
        key = number, chunk.key, self._change
        if key not in self._states:
            self.calls += 1
            vectors = [(place, each.file.vectors[number]) for place, each in chunk.embeddings]
            found = Features(*self.text_encoders[number].encode(chunk.ids, vectors))
            while len(self._states) >= REMEMBERED:
                self._states.pop(next(iter(self._states)))
            self._states[key] = found
        return self._states[key]


def require_plain(text: str, path: str) -> None:
    """Raise RequestError at `path` for prompt syntax that only the WebUI has, or that is malformed."""
    found = prompt_edit(text)
    if found:
        raise RequestError(path, f"so far {found!r} works in the WebUI only: leave it out here")
    with at_path(path):
        for part in split_and(text):
            parse_emphasis(part.text)


def prompt_edit(text: str) -> str | None:
    r"""The first prompt edit `[a:b:when]` or alternation `[a|b]` of a prompt, None without one.

    >>> prompt_edit("a [b] (c) [[d]:(e:1.2):0.4]"), prompt_edit(r"[see: 3 cats] \[a|b\] {a|b}")
    ('[[d]:(e:1.2):0.4]', None)
    """
    stack: list[tuple[int, list[int]]] = []  # of each open bracket its place, and those of its own signs
    for piece in EDIT_PIECE.finditer(text):
        sign, place = piece[0], piece.start()
        if sign in "([":
            stack.append((place, []))
        elif sign in ":|" and stack:
            stack[-1][1].append(place)
        elif sign in ")]" and stack:
            start, signs = stack.pop()
            edited = any(text[each] == "|" for each in signs)
            edited = edited or bool(signs and EDIT_STEP.fullmatch(text, signs[-1] + 1, place))
            if edited and text[start] == "[" and sign == "]":
                return text[start : place + 1]
    return None
