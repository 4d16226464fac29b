"""SDXL's vector beside the text context, from what either host gives the U-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from lib_ctrlgen.errors import HostError

WIDTH = 256  # of each size's embedding


def added_vector(added: Mapping[str, Any]) -> Tensor:
    """The vector [B, V]: sgm's `y`, or diffusers' pooled text [B, P] and six sizes [B, 6], embedded.

    Podell et al. 2023, SDXL, section 2.2. Raises HostError where the host gave neither.
    """
    if isinstance(added.get("y"), Tensor):
        vector: Tensor = added["y"]
        return vector
    if "text_embeds" not in added or "time_ids" not in added:
        raise HostError("the U-Net was called without SDXL's vector (`y`, or `text_embeds` and `time_ids`)")
    text, sizes = added["text_embeds"], added["time_ids"]
    embedded = get_timestep_embedding(sizes.flatten(), WIDTH, flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat((text, embedded.reshape(text.shape[0], -1).to(text)), dim=1)
