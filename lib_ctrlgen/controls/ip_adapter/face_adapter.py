"""IP-Adapters that read a face's embedding: FaceID, FaceID-plus, Portrait, and InstantID's.

tencent-ailab's IP-Adapter (ip_adapter_faceid.py); Wang et al. 2024, InstantID. The embedding is that of
ArcFace; FaceID-plus also reads the CLIP features of the aligned face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.params import FACE_ADAPTER, FACEID_V2_WEIGHT, IMAGE_ENCODER, LORA_WEIGHT, VARIANT
from lib_ctrlgen.errors import at_path
from lib_ctrlgen.faces.face import Embedding
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.clip_vision import EncoderFolder, find_encoder, load_tower
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import require_family

from .adapter import ADVICE, PreparedIPAdapter, Tokens, require_widths
from .detect import face_adapter_kind
from .file import AdapterWeights, stored_adapter
from .lora import AttentionLora, require_lora_fits
from .resampler import Resampler
from .unit_faces import UnitFace, drawn, unit_faces
from .variants import KNOWN, chosen


@dataclass(frozen=True, kw_only=True)
class FaceAdapter:
    """A loaded adapter. `known` is its variant, or two that its keys fit, see `variants`."""

    name: ClassVar[str] = "ip_adapter_face"
    title: ClassVar[str] = "IP-Adapter for faces"
    params: ClassVar[tuple[Param, ...]] = FACE_ADAPTER

    weights: AdapterWeights
    known: str

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of an adapter for faces, None for other files. Raises ModelError for a broken one."""
        return face_adapter_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> FaceAdapter:
        """Load an adapter for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)
        weights, widths = stored_adapter(path, target.store, target.placement), target.shape.attention_hidden
        require_widths([keys.shape[0] for keys, _ in weights.layers], widths)
        if weights.lora is not None:
            require_lora_fits(weights.lora, widths, kind.family.context_dim, path.stem)
        return cls(weights=weights, known=kind.variant)

    @property
    def layers(self) -> int:
        """Cross-attentions that the adapter reaches (16 on SD1.5)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedFaceAdapter:
        """Find the faces and make their tokens. Raises RequestError at the unit's fields."""
        require_picture_unit(job, "an IP-Adapter", "ControlNets", ADVICE)
        variant = chosen(self.known, str(job.params[VARIANT.name]), f"{job.path}.params.{VARIANT.name}")
        faces = unit_faces(job, target.store, KNOWN[variant])
        clip = face_features(faces, self.weights, job, target) if KNOWN[variant].crop else None
        shortcut = float(job.params[FACEID_V2_WEIGHT.name]) if variant == "faceid_plus_v2" else None
        cond, uncond = face_tokens(self.weights, [face.embedding for face in faces], clip, shortcut)
        prepared = PreparedFaceAdapter(
            weights=self.weights,
            cond=cond,
            uncond=uncond,
            seen=faces[0].aligned or drawn(faces[0].embedding),
            variant=variant,
            loaded={} if clip is None else {IMAGE_ENCODER.name: clip.folder.label(target.store)},
        )
        lora, weight = self.weights.lora, float(job.params[LORA_WEIGHT.name])
        return prepared if lora is None or weight == 0.0 else prepared.with_lora(lora, weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFaceAdapter(PreparedIPAdapter):
    """One unit of a generation. `seen` is the first face, aligned, or a drawing of its embedding."""

    variant: str

    def with_lora(self, lora: AttentionLora, weight: float) -> PreparedFaceID:
        """The same unit with the file's LoRA."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return PreparedFaceID(**own, lora=lora, lora_weight=weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFaceID(PreparedFaceAdapter):
    """One unit with the LoRA of its file, see `LoraControl`."""

    lora: AttentionLora
    lora_weight: float

    def without_lora(self) -> PreparedFaceAdapter:
        """The same unit without the LoRA, for a host that has loaded it already."""
        own = {each.name: getattr(self, each.name) for each in fields(PreparedFaceAdapter)}
        return PreparedFaceAdapter(**own)


@dataclass(frozen=True, kw_only=True)
class FaceFeatures:
    """CLIP features [N, L, C] of aligned faces, [1, L, C] of zeros, and the encoder that made them."""

    faces: Tensor
    zeros: Tensor
    folder: EncoderFolder


def face_features(
    faces: Sequence[UnitFace], weights: AdapterWeights, job: UnitInputs, target: Target
) -> FaceFeatures:
    """The features of a unit's aligned faces, each from the store's cache. Raises RequestError."""
    name = str(job.params[IMAGE_ENCODER.name])
    with at_path(f"{job.path}.params.{IMAGE_ENCODER.name}" if name else f"{job.path}.model"):
        folder = find_encoder(target.store, weights.feature, weights.width, name)
        tower = load_tower(target.store, folder, target.placement)

    def feature(picture: Image.Image | None) -> Tensor:
        pixels = tower.zeros() if picture is None else tower.pixels(picture)
        return tower.feature(pixels, weights.feature)

    def cached(picture: Image.Image | None) -> Tensor:
        name = "zeros" if picture is None else image_hash(picture)
        key = name, folder.weights, target.placement, weights.feature
        return target.store.cached(key, lambda: feature(picture))

    seen = torch.cat([cached(face.aligned) for face in faces])
    return FaceFeatures(faces=seen, zeros=cached(None), folder=folder)


def face_tokens(
    weights: AdapterWeights,
    embeddings: Sequence[Embedding],
    clip: FaceFeatures | None = None,
    shortcut: float | None = None,
) -> Tokens:
    """Tokens [1, N * T, X] of N faces side by side, for conditional and for unconditional rows.

    Those of unconditional rows are the head's for embeddings of zeros and CLIP features of zeros.
    """
    like = weights.weights.like
    face = torch.tensor(embeddings, dtype=torch.float32).to(like)
    with torch.no_grad(), weights.weights.present():
        if clip is not None:
            seen, zeros = clip.faces.to(like), clip.zeros.to(like).expand(len(face), -1, -1)
            cond = weights.projection(face, seen, shortcut)
            uncond = weights.projection(torch.zeros_like(face), zeros, shortcut)
        else:
            rows = face[:, None] if isinstance(weights.projection, Resampler) else face
            cond, uncond = weights.projection(rows), weights.projection(torch.zeros_like(rows))
    return cond.flatten(0, 1)[None], uncond.flatten(0, 1)[None]
