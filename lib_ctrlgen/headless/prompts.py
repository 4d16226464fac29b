"""Prompts of any length: chunks of 75 tokens, encoded apart and joined, as the WebUI does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

CHUNK = 75


def encode_prompts(texts: Sequence[str], tokenizer: Any, text_encoder: Any) -> list[Tensor]:
    """Each text as features [1, 77 n, X]; n, the same for all, is what the longest text needs.

    A text of at most 75 tokens alone gives exactly what diffusers' pipeline makes of it.
    """
    chunked = [token_chunks(text, tokenizer) for text in texts]
    count = max(map(len, chunked))
    empty = framed([], tokenizer)
    rows = [[*chunks, *[empty] * (count - len(chunks))] for chunks in chunked]
    with torch.no_grad():
        return [_encode(chunks, text_encoder) for chunks in rows]


def token_chunks(text: str, tokenizer: Any) -> list[list[int]]:
    """The tokens of a text in chunks of 77: start, up to 75 tokens, end, padding. At least one chunk."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    starts = range(0, max(len(ids), 1), CHUNK)
    return [framed(ids[start : start + CHUNK], tokenizer) for start in starts]


def framed(ids: Sequence[int], tokenizer: Any) -> list[int]:
    """Up to 75 tokens between start and end, padded to 77."""
    end = [tokenizer.eos_token_id, *[tokenizer.pad_token_id] * (CHUNK - len(ids))]
    return [tokenizer.bos_token_id, *ids, *end]


def _encode(chunks: list[list[int]], text_encoder: Any) -> Tensor:
    ids = torch.tensor(chunks, device=text_encoder.device)
    states: Tensor = text_encoder(ids)[0]
    return states.reshape(1, -1, states.shape[-1])
