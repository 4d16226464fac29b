"""Encodes captions and calls the U-Net, with gradients where a trained part asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.clean_text import clean_text
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.checkpoints.text_encoder import TextEncoder
from lib_ctrlgen.headless.sampling.chunks import CHUNK, framed
from lib_ctrlgen.headless.sampling.features import Features

Split = Callable[[str, TextEncoder], Sequence[int]]


def call_unet(
    networks: Networks, noisy: Tensor, timesteps: Tensor, text: Features, sizes: Tensor | None, **options: Any
) -> Tensor:
    """The U-Net's output [B, 4, h, w]. `options` are more or other arguments of diffusers' U-Net."""
    if networks.sized:
        options["added_cond_kwargs"] = {"text_embeds": text.pooled, "time_ids": sizes}
    options = {"encoder_hidden_states": text.states, **options}
    return networks.unet(noisy, timesteps, **options).sample  # type: ignore[no-any-return]


def tokens_of(caption: str, encoder: TextEncoder) -> list[int]:
    """The tokens of a caption; the signs of prompt syntax are ordinary characters in it."""
    found: list[int] = encoder.tokenizer(clean_text(caption), add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    return found


def encode_captions(networks: Networks, captions: Sequence[str], split: Split = tokens_of) -> Features:
    """Encode captions as B rows of one chunk of 77 tokens; gradients are recorded.

    What is beyond 75 tokens is cut off. An empty caption is zeros for SDXL, as its empty negative prompt.
    `split` finds the tokens of a caption.
    """
    parts = [
        _encoded(encoder, [split(text, encoder) for text in captions]) for encoder in networks.text_encoders
    ]
    found = Features.beside(parts)
    if not networks.sized:
        return found
    said = torch.tensor([bool(text) for text in captions], device=found.states.device)
    return found.map(lambda each: each * said.view(-1, *[1] * (each.ndim - 1)))


def _encoded(encoder: TextEncoder, rows: Sequence[Sequence[int]]) -> Features:
    chunks = [framed(list(row[:CHUNK]), encoder.tokenizer, encoder.pad).ids for row in rows]
    tokens = torch.tensor(chunks, device=encoder.encoder.device)
    found = encoder.encoder(tokens, output_hidden_states=encoder.hidden)
    states = found.hidden_states[-2] if encoder.hidden else found.last_hidden_state
    return Features(states, getattr(found, "text_embeds", None))
