"""Encodes single phrases with the text encoder of the loaded checkpoint, for controls that read texts."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, shared
from torch import Tensor

from lib_ctrlgen.errors import ModelError

CHUNK = 75  # tokens between the start and the end token


class LoadedPhrases:
    """A `PhraseEncoder` for whichever SD1.x checkpoint is loaded when it is called."""

    def origin(self) -> Hashable:
        """The checkpoint's file."""
        return str(shared.sd_model.sd_checkpoint_info.filename)

    def encode(self, text: str) -> Tensor:
        """The text encoder's output [X] at the end token, which is CLIP's pooled output; float32 on the CPU.

        LoRAs that an earlier generation left in the text encoder are left out. Raises ModelError for a phrase
        of more than 75 tokens, and for a checkpoint without CLIP's text encoder of SD1.x.
        """
        embedder: Any = shared.sd_model.cond_stage_model
        transformer = getattr(getattr(embedder, "wrapped", None), "transformer", None)
        if transformer is None:
            raise ModelError("the loaded checkpoint has no text encoder of SD1.x, which reads the phrases")
        (ids,) = embedder.tokenize([text])
        if len(ids) > CHUNK:
            raise ModelError(f"the phrase has {len(ids)} tokens, and at most {CHUNK} are read: shorten it")
        padding = [embedder.id_end] * (CHUNK + 1 - len(ids))
        tokens = torch.tensor([[embedder.id_start, *ids, *padding]], device=devices.device)
        embedder.hijack.fixes = None  # embeddings of a prompt that was not encoded to its end
        with torch.no_grad(), devices.autocast(), without_loras():
            states = transformer(input_ids=tokens).last_hidden_state
        found: Tensor = states[0, len(ids) + 1].float().cpu()
        return found


@contextmanager
def without_loras() -> Iterator[None]:
    """A context in which the WebUI's built-in Lora extension, if it is loaded, applies none."""
    networks: Any = sys.modules.get("networks")
    loaded = getattr(networks, "loaded_networks", None)
    if not loaded:
        yield
        return
    networks.loaded_networks = []
    try:
        yield
    finally:
        networks.loaded_networks = loaded
