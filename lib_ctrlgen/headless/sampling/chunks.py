"""Splits prompts into chunks of tokens as the WebUI does, with embeddings of textual inversion in them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib_ctrlgen.headless.checkpoints.clean_text import clean_text
from lib_ctrlgen.models.embeddings.find import Embeddings, FoundEmbedding
from lib_ctrlgen.prompts.emphasis import parse_emphasis

CHUNK = 75
BACKTRACK = 20  # tokens: where a chunk is full and has a comma among its last ones, it ends there


@dataclass(frozen=True)
class Chunk:
    """77 tokens (start, up to 75, end, padding) and the weight of each.

    `embeddings` are those of textual inversion, each with the place of its first vector among the 77.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    embeddings: tuple[tuple[int, FoundEmbedding], ...] = ()

    @property
    def key(self) -> Hashable:
        """Identifies what a text encoder reads."""
        return self.ids, tuple((place, each.key) for place, each in self.embeddings)


def chunks_of(
    text: str, tokenizer: Any, pad: int | None = None, embeddings: Embeddings | None = None
) -> list[Chunk]:
    """Split a text into chunks of tokens, at least one, padded with `pad` or the tokenizer's own token.

    An embedding stays in one chunk. As in the WebUI, one that is moved to the next chunk together with the
    words behind a comma leaves its vectors in the first one, and plain tokens in the next.
    """
    chunks = _Chunks(tokenizer, pad, embeddings)
    for piece in parse_emphasis(text):
        if piece.text is None:
            chunks.close(len(chunks.ids))
            continue
        tokens, place = token_ids(piece.text, tokenizer), 0
        while place < len(tokens):
            place = chunks.add(tokens, place, piece.weight)
    if chunks.ids or not chunks.closed:
        chunks.close(len(chunks.ids))
    return chunks.closed


class _Chunks:
    """The finished chunks of a text, and the tokens, weights and embeddings of the open one."""

    def __init__(self, tokenizer: Any, pad: int | None, embeddings: Embeddings | None) -> None:
        self.tokenizer, self.pad, self.known = tokenizer, pad, embeddings
        comma = tokenizer.convert_tokens_to_ids(",</w>")
        self.comma: int | None = None if comma == tokenizer.unk_token_id else comma
        self.closed: list[Chunk] = []
        self.ids: list[int] = []
        self.weights: list[float] = []
        self.embeddings: list[tuple[int, FoundEmbedding]] = []

    def add(self, tokens: Sequence[int], place: int, weight: float) -> int:
        """Add the token or the embedding at a place; returns the next place."""
        if len(self.ids) == CHUNK:
            self.close(CHUNK if tokens[place] == self.comma else _break_place(self.ids, self.comma))
        found = self.known.at(tokens, place) if self.known else None
        if found is None:
            self.ids.append(tokens[place])
            self.weights.append(weight)
            return place + 1
        count = found.file.count
        if len(self.ids) + count > CHUNK:
            self.close(len(self.ids))
        self.embeddings.append((1 + len(self.ids), found))
        self.ids += [0] * count
        self.weights += [weight] * count
        return place + found.length

    def close(self, keep: int) -> None:
        """End the open chunk after `keep` tokens; the others begin the next one."""
        chunk = framed(self.ids[:keep], self.tokenizer, self.pad, self.weights[:keep])
        self.closed.append(replace(chunk, embeddings=tuple(self.embeddings)))
        self.ids, self.weights, self.embeddings = self.ids[keep:], self.weights[keep:], []


def token_ids(text: str, tokenizer: Any) -> list[int]:
    """The tokens of a text without start and end."""
    found: list[int] = tokenizer(clean_text(text), add_special_tokens=False, verbose=False)["input_ids"]
    return found


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
