"""One batch of a training, as the loss and the methods read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.headless.sampling.features import Features


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B pictures of one size with their captions.

    latents         [B, 4, h, w], scaled as the U-Net reads them
    captions        what the pictures show; an empty one where the caption was dropped
    text            the encoded captions; None for a method that encodes them itself
    sizes           [B, 6], the sizes that SDXL's U-Net reads; None for other checkpoints
    references      [B, ...], what the method computed of a reference picture of each row, which is another
                    view than the row's own wherever there are two; None for a method without references
    unreferenced    [B] of bool, rows whose reference is dropped
    weights         [B, 1, h, w], how much the loss counts at each place; None counts it everywhere
    prior           whether this is a batch of the prior, that is, of pictures that are not of the subject
    """

    latents: Tensor
    captions: tuple[str, ...]
    text: Features | None = None
    sizes: Tensor | None = None
    references: Tensor | None = None
    unreferenced: Tensor | None = None
    weights: Tensor | None = None
    prior: bool = False

    def __len__(self) -> int:
        return len(self.latents)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        text = None if self.text is None else self.text.map(lambda each: each.to(device))
        return Batch(
            latents=self.latents.to(device),
            captions=self.captions,
            text=text,
            sizes=_moved(self.sizes, device),
            references=_moved(self.references, device),
            unreferenced=_moved(self.unreferenced, device),
            weights=_moved(self.weights, device),
            prior=self.prior,
        )


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)
