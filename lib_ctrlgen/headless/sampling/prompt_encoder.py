"""Encodes prompts as the WebUI does: weights, BREAK, and chunks of 75 tokens, encoded separately."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.headless.checkpoints.clean_text import clean_text
from lib_ctrlgen.headless.checkpoints.text_encoder import TextEncoder
from lib_ctrlgen.prompts.blended import split_and
from lib_ctrlgen.prompts.emphasis import parse_emphasis

from .features import Features

CHUNK = 75
REMEMBERED = 256  # chunks
BACKTRACK = 20  # tokens: where a chunk is full and has a comma among its last ones, it ends there
EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
EDIT_PIECE = re.compile(r"\\.|[()\[\]|:]", re.DOTALL)
EDIT_STEP = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Chunk:
    """77 tokens (start, up to 75, end, padding) and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass
class PromptEncoder:
    """Encodes prompts, and caches the encoded chunks by their tokens, independent of the weights.

    `calls` counts how often a text encoder ran.
    """

    text_encoders: tuple[TextEncoder, ...]
    calls: int = 0
    _states: dict[tuple[int, tuple[int, ...]], Features] = field(default_factory=dict)

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
        chunked = [chunks_of(text, tower.tokenizer, tower.pad) for tower in self.text_encoders]
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
        found = self._encoded(number, chunk.ids)
        if all(weight == 1.0 for weight in chunk.weights):
            return found
        states = found.states
        weights = torch.tensor(chunk.weights, device=states.device, dtype=states.dtype)
        weighed = states * weights[None, :, None]
        return Features(weighed * (states.mean() / weighed.mean()), found.pooled)

    def _encoded(self, number: int, ids: tuple[int, ...]) -> Features:
        key = number, ids
        if key not in self._states:
            self.calls += 1
            found = Features(*self.text_encoders[number].encode(ids))
            while len(self._states) >= REMEMBERED:
                self._states.pop(next(iter(self._states)))
            self._states[key] = found
        return self._states[key]


def require_plain(text: str, path: str) -> None:
    """Raise RequestError at `path` for prompt syntax that only the WebUI has, or that is malformed."""
    network = EXTRA_NETWORK.search(text)
    found = network[0] if network else prompt_edit(text)
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


def chunks_of(text: str, tokenizer: Any, pad: int | None = None) -> list[Chunk]:
    """Split a text into chunks of tokens, at least one, padded with `pad` or the tokenizer's own token."""
    open_ids: list[int] = []
    open_weights: list[float] = []
    chunks: list[Chunk] = []
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    if comma == tokenizer.unk_token_id:
        comma = None

    def close(keep: int) -> None:
        chunks.append(framed(open_ids[:keep], tokenizer, pad, open_weights[:keep]))
        del open_ids[:keep], open_weights[:keep]

    for piece in parse_emphasis(text):
        if piece.text is None:
            close(len(open_ids))
            continue
        words = clean_text(piece.text)
        for token in tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]:
            if len(open_ids) == CHUNK:
                close(CHUNK if token == comma else _break_place(open_ids, comma))
            open_ids.append(token)
            open_weights.append(piece.weight)
    if open_ids or not chunks:
        close(len(open_ids))
    return chunks


def _break_place(ids: list[int], comma: int | None) -> int:
    """The place to end a full chunk: behind a comma among its last tokens, or at its end."""
    behind = next((place + 1 for place in reversed(range(len(ids))) if ids[place] == comma), 0)
    return behind if behind and len(ids) - (behind - 1) <= BACKTRACK else len(ids)


def framed(
    ids: Sequence[int], tokenizer: Any, pad: int | None = None, weights: Sequence[float] = ()
) -> Chunk:
    """Up to 75 tokens as a chunk: start token, tokens, end token, padding up to 77."""
    rest = CHUNK - len(ids)
    ends = [tokenizer.eos_token_id, *[tokenizer.pad_token_id if pad is None else pad] * rest]
    return Chunk(
        ids=(tokenizer.bos_token_id, *ids, *ends),
        weights=(1.0, *(weights or [1.0] * len(ids)), *[1.0] * (rest + 1)),
    )
