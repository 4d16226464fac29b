"""The layouts of PuLID files in published and in small sizes, and a stand-in for its towers."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tests.support.face_adapters import HIDDEN, Shapes, embedding, linear, norm, resampler

IDENTITY, MAP = 1280, 1024
SMALL_MAP, SMALL_TOKENS = 32, 9


def three(name: str, width: int, inner: int, out: int) -> Shapes:
    return {
        **linear(f"{name}.0", width, inner),
        **norm(f"{name}.1", inner),
        **linear(f"{name}.3", inner, inner),
        **norm(f"{name}.4", inner),
        **linear(f"{name}.6", inner, out),
    }


def version_1(context: int = 2048, inner: int = 1024, seen: int = MAP) -> Shapes:
    found = three("body", IDENTITY, inner, 5 * context)
    for i in range(5):
        found |= three(f"mapping_{i}", seen, inner, context)
        found |= three(f"mapping_patch_{i}", seen, inner, context)
    return found


def version_1_1(
    context: int = 2048, width: int = 1024, seen: int = MAP, queries: int = 32, inner: int = 1024
) -> Shapes:
    layers = {k: v for k, v in resampler(width, 1, 1, width, 10).items() if k.startswith("layers.")}
    found = {"latents": (1, queries, width), "proj_out": (width, context), **layers}
    found |= three("id_embedding_mapping", IDENTITY, inner, 5 * width)
    for i in range(5):
        found |= three(f"mapping_{i}", seen, inner, width)
    return found


def published(head: Shapes, widths: tuple[int, ...] = HIDDEN[2048], context: int = 2048) -> Shapes:
    """A file as PuLID publishes it."""
    layers = {
        f"id_adapter_attn_layers.{2 * i + 1}.id_to_{part}.weight": (width, context)
        for i, width in enumerate(widths)
        for part in "kv"
    }
    return {f"id_adapter.{key}": shape for key, shape in head.items()} | layers


def converted(tensors: dict[str, Any]) -> dict[str, Any]:
    """The same under an IP-Adapter's names."""
    return {
        key.replace("id_adapter_attn_layers.", "ip_adapter.")
        .replace("id_to_k", "to_k_ip")
        .replace("id_to_v", "to_v_ip")
        .replace("id_adapter.", "image_proj."): value
        for key, value in tensors.items()
    }


class SeenFaces:
    """Stands for `Towers`: features that depend on the colours of the aligned face."""

    def __init__(self, store: Any) -> None:
        self.store, self.key = store, ("stand-in",)

    @classmethod
    def of(cls, store: Any, _placement: Any) -> "SeenFaces":
        return cls(store)

    def features(self, face: Image.Image) -> tuple[Tensor, ...]:
        numbers = torch.tensor(embedding(face) * 2)[: IDENTITY - 512] / 20
        maps = torch.tensor(embedding(face))[: SMALL_MAP * SMALL_TOKENS].view(1, SMALL_TOKENS, SMALL_MAP)
        return numbers[None], *(maps * (i + 1) / 5 for i in range(5))
