"""Encodes single phrases with the text encoder of a loaded checkpoint, for controls that read texts."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.headless.checkpoints.clean_text import clean_text
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.checkpoints.text_encoder import TextEncoder

from .chunks import CHUNK, framed


@dataclass(frozen=True, kw_only=True)
class CheckpointPhrases:
    """A `PhraseEncoder` for one text encoder; `key` identifies the checkpoint's file."""

    text_encoder: TextEncoder
    key: Hashable

    def origin(self) -> Hashable:
        """The checkpoint's file."""
        return self.key

    def encode(self, text: str) -> Tensor:
        """The text encoder's output [X] at the end token, which is CLIP's pooled output; float32 on the CPU.

        Raises ModelError for a phrase of more than 75 tokens.
        """
        tokenizer = self.text_encoder.tokenizer
        ids = tokenizer(clean_text(text), add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) > CHUNK:
            raise ModelError(f"the phrase has {len(ids)} tokens, and at most {CHUNK} are read: shorten it")
        states, _ = self.text_encoder.encode(framed(ids, tokenizer, self.text_encoder.pad).ids)
        found: Tensor = states[0, len(ids) + 1].float().cpu()
        return found


def phrases_of(networks: Networks, key: Hashable) -> CheckpointPhrases | None:
    """The phrase encoder of loaded networks; None for SDXL, whose two encoders no such control reads."""
    return None if networks.sized else CheckpointPhrases(text_encoder=networks.text_encoders[0], key=key)
