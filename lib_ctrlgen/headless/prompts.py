"""Prompts as the WebUI encodes them: weights, BREAK, and chunks of 75 tokens, encoded apart and joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.emphasis import weigh
from lib_ctrlgen.errors import RequestError

CHUNK = 75
REMEMBERED = 256  # chunks
BACKTRACK = 20  # tokens: a comma this near to a chunk's end takes what follows it to the next
HOST_ONLY = re.compile(r"\[[^\[\]]*:\s*\d*\.?\d+\s*\]|\[[^\[\]]*\|[^\[\]]*\]|<\w+:[^<>]*>")


@dataclass(frozen=True)
class Chunk:
    """77 tokens (start, up to 75, end, padding) and their weights."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass
class PromptEncoder:
    """Encodes prompts; each distinct chunk of tokens once, whatever its weights, while it is remembered.

    `calls` counts how often the text encoder ran.
    """

    tokenizer: Any
    text_encoder: Any
    calls: int = 0
    _states: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """Each text as features [1, 77 n, X]; n, the same for all, is what the longest text needs.

        A text of at most 75 tokens alone, without weights, gives exactly what diffusers' pipeline
        makes of it.
        """
        chunked = [chunks_of(text, self.tokenizer) for text in texts]
        count = max(map(len, chunked))
        empty = framed([], self.tokenizer)
        rows = [[*chunks, *[empty] * (count - len(chunks))] for chunks in chunked]
        return [torch.cat([self._weighed(chunk) for chunk in chunks], 1) for chunks in rows]

    def _weighed(self, chunk: Chunk) -> Tensor:
        """The features [1, 77, X] times the weights, with their mean restored.

        The WebUI's emphasis "Original": a chunk's mean stays what it was.
        """
        states = self._encoded(chunk.ids)
        if all(weight == 1.0 for weight in chunk.weights):
            return states
        weights = torch.tensor(chunk.weights, device=states.device, dtype=states.dtype)
        weighed = states * weights[None, :, None]
        return weighed * (states.mean() / weighed.mean())

    def _encoded(self, ids: tuple[int, ...]) -> Tensor:
        if ids not in self._states:
            self.calls += 1
            with torch.no_grad():
                found: Tensor = self.text_encoder(torch.tensor([ids], device=self.text_encoder.device))[0]
            while len(self._states) >= REMEMBERED:
                self._states.pop(next(iter(self._states)))
            self._states[ids] = found
        return self._states[ids]


def require_plain(text: str, path: str) -> None:
    """Raise RequestError at `path` for what only the WebUI does with a prompt."""
    found = HOST_ONLY.search(text)
    if found:
        raise RequestError(path, f"{found[0]!r} works in the WebUI only yet: leave it out here")


def chunks_of(text: str, tokenizer: Any) -> list[Chunk]:
    """The tokens of a text in chunks, at least one."""
    open_ids: list[int] = []
    open_weights: list[float] = []
    chunks: list[Chunk] = []
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    if comma == tokenizer.unk_token_id:
        comma = None

    def close(keep: int) -> None:
        chunks.append(framed(open_ids[:keep], tokenizer, open_weights[:keep]))
        del open_ids[:keep], open_weights[:keep]

    for piece in weigh(text):
        if piece.text is None:
            close(len(open_ids))
            continue
        for token in tokenizer(piece.text, add_special_tokens=False, verbose=False)["input_ids"]:
            if len(open_ids) == CHUNK:
                close(CHUNK if token == comma else _break_place(open_ids, comma))
            open_ids.append(token)
            open_weights.append(piece.weight)
    if open_ids or not chunks:
        close(len(open_ids))
    return chunks


def _break_place(ids: list[int], comma: int | None) -> int:
    """Where a full chunk ends: behind its last comma when that is near, else at its end."""
    behind = next((place + 1 for place in reversed(range(len(ids))) if ids[place] == comma), 0)
    return behind if behind and len(ids) - (behind - 1) <= BACKTRACK else len(ids)


def framed(ids: Sequence[int], tokenizer: Any, weights: Sequence[float] = ()) -> Chunk:
    """Up to 75 tokens between start and end, padded to 77."""
    rest = CHUNK - len(ids)
    ends = [tokenizer.eos_token_id, *[tokenizer.pad_token_id] * rest]
    return Chunk(
        ids=(tokenizer.bos_token_id, *ids, *ends),
        weights=(1.0, *(weights or [1.0] * len(ids)), *[1.0] * (rest + 1)),
    )
