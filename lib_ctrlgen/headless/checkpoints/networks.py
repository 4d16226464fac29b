"""The networks of a loaded checkpoint, and the device and dtype that they are loaded to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lib_ctrlgen.errors import ModelError

from .text_encoder import TextEncoder

SIZES = 6  # numbers in add_time_ids: original height and width, crop top and left, target height and width


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of a checkpoint. They are shared by every pipeline and generation that uses it.

    text_encoders: the text encoders, one, or two for SDXL; noise: the arguments of diffusers' schedulers.
    """

    unet: Any
    vae: Any
    text_encoders: tuple[TextEncoder, ...]
    noise: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raise ModelError where SDXL's text and size embeddings do not fit the U-Net's input width."""
        if not self.sized:
            return
        wanted = int(self.unet.add_embedding.linear_1.in_features)
        size_dim = int(self.unet.config.addition_time_embed_dim)
        text = int(self.text_encoders[-1].encoder.config.projection_dim)
        if wanted != text + SIZES * size_dim:
            raise ModelError(
                f"its U-Net takes a vector of {wanted} numbers, but the text's {text} and {SIZES} sizes of "
                f"{size_dim} make {text + SIZES * size_dim}"
            )

    @property
    def text_encoder(self) -> Any:
        """The first text encoder."""
        return self.text_encoders[0].encoder

    @property
    def tokenizer(self) -> Any:
        """The first tokenizer."""
        return self.text_encoders[0].tokenizer

    @property
    def sized(self) -> bool:
        """Whether the U-Net reads the picture's size and a pooled text embedding, as SDXL's does."""
        return len(self.text_encoders) > 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """The device and dtype of networks. Half precision on a CPU becomes float32.

    `tokenizer` is a folder with CLIP's tokenizer, for checkpoints that name no text folder.
    """

    device: torch.device
    dtype: torch.dtype
    tokenizer: Path | None = None

    @staticmethod
    def best(tokenizer: Path | None = None) -> Place:
        """The GPU in half precision if there is one, else the CPU."""
        if torch.cuda.is_available():
            return Place(device=torch.device("cuda"), dtype=torch.float16, tokenizer=tokenizer)
        return Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=tokenizer)
