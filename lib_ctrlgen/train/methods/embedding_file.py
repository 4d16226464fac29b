"""Writes embeddings as the WebUI and ComfyUI read them: `.safetensors`, or the WebUI's own `.pt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lib_ctrlgen.files import save_bytes, whole_file

SDXL_KEYS = ("clip_l", "clip_g")


def embedding_tensors(vectors: Sequence[Tensor]) -> dict[str, Tensor]:
    """`emb_params` [n, X] of one text encoder; `clip_l` and `clip_g` of SDXL's two."""
    if len(vectors) == 1:
        return {"emb_params": vectors[0].contiguous()}
    return {name: each.contiguous() for name, each in zip(SDXL_KEYS, vectors, strict=True)}


def write_embedding(vectors: Sequence[Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file in the format of its suffix. Raises HostError."""
    if path.suffix == ".pt":
        with whole_file(path) as stream:
            torch.save(webui_content(vectors, path.stem, metadata), stream)
    else:
        save_bytes(save(embedding_tensors(vectors), dict(metadata)), path)


def webui_content(vectors: Sequence[Tensor], name: str, metadata: Mapping[str, str]) -> dict[str, object]:
    """What the WebUI writes into `.pt` files of SD1.5 and SD2; for SDXL the tensors by their names."""
    if len(vectors) > 1:
        return dict(embedding_tensors(vectors))
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors[0]},
        "name": name,
        "step": int(metadata.get("ss_steps", 0)),
        "sd_checkpoint": metadata.get("ss_new_sd_model_hash", "")[:10],
        "sd_checkpoint_name": metadata.get("ss_sd_model_name", ""),
    }
