"""Reads embeddings of textual inversion (Gal et al. 2022): vectors that stand in the place of tokens.

Read are the WebUI's .pt files (`string_to_param`), kohya's .safetensors (`emb_params`; for SDXL `clip_l` and
`clip_g`) and diffusers' learned_embeds (one tensor under the name of a token).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import read_tensors

MOST = 75
SDXL = ("clip_l", "clip_g")  # in the order of SDXL's text encoders


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingFile:
    """The vectors [n, width] of an embedding for each text encoder, float32 on the CPU."""

    vectors: tuple[Tensor, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of the vectors for each text encoder."""
        return tuple(int(each.shape[1]) for each in self.vectors)

    @property
    def count(self) -> int:
        """The number of tokens that the embedding takes in a prompt."""
        return len(self.vectors[-1])


def load_embedding(path: Path) -> EmbeddingFile:
    """Read an embedding. Raises ModelError for a file of another kind, or a broken one."""
    tensors = read_tensors(path)
    if set(SDXL) <= tensors.keys():
        found: Sequence[Tensor] = [tensors[name] for name in SDXL]
    else:
        found = [_only(tensors, path.name)]
    vectors = tuple((each[None] if each.ndim == 1 else each).detach().float() for each in found)
    if any(each.ndim != 2 or not len(each) for each in vectors) or len({len(each) for each in vectors}) > 1:
        shapes = ", ".join(str(tuple(each.shape)) for each in found)
        raise ModelError(f"{path.name} is no embedding: its tensors are {shapes}")
    if len(vectors[0]) > MOST:
        raise ModelError(f"{path.name} has {len(vectors[0])} vectors, and a prompt's chunk {MOST} tokens")
    return EmbeddingFile(vectors=vectors)


def _only(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """The one tensor of a file. Raises ModelError for several."""
    params = {key: tensor for key, tensor in tensors.items() if key.startswith("string_to_param.")}
    chosen = params or tensors
    if len(chosen) != 1:
        raise ModelError(f"{name} is no embedding: it holds {len(chosen)} tensors, an embedding one")
    return next(iter(chosen.values()))
