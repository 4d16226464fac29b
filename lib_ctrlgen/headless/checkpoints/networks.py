"""What a pipeline is made of, and where it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lib_ctrlgen.errors import ModelError

from .text_encoder import Tower

SIZES = 6  # height and width of the original, top and left of the crop, height and width of the picture


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A model's networks; shared by every pipeline of the same model.

    `towers` are the text encoders: one, or SDXL's two. `noise` are the arguments of its schedulers.
    """

    unet: Any
    vae: Any
    towers: tuple[Tower, ...]
    noise: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raise ModelError unless SDXL's text and sizes make up the vector that its U-Net takes."""
        if not self.sized:
            return
        wanted = int(self.unet.add_embedding.linear_1.in_features)
        waves = int(self.unet.config.addition_time_embed_dim)
        text = int(self.towers[-1].encoder.config.projection_dim)
        if wanted != text + SIZES * waves:
            raise ModelError(
                f"its U-Net takes a vector of {wanted} numbers, and the text's {text} with {SIZES} sizes of "
                f"{waves} make {text + SIZES * waves}"
            )

    @property
    def text_encoder(self) -> Any:
        """The first text encoder."""
        return self.towers[0].encoder

    @property
    def tokenizer(self) -> Any:
        """The first tokenizer."""
        return self.towers[0].tokenizer

    @property
    def sized(self) -> bool:
        """Whether the U-Net is told the picture's size and a summary of its text: SDXL."""
        return len(self.towers) > 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where networks live. Half precision on a CPU becomes float32.

    `tokenizer` is a folder with CLIP's, for checkpoints that name no text folder.
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
