"""PuLID for SDXL: attention to the tokens of a face, without what it has in common with the text's.

Guo et al. 2024, PuLID: Pure and Lightning ID Customization via Contrastive Alignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.ip_adapter.adapter import ADVICE, side_by_side
from lib_ctrlgen.controls.ip_adapter.combine import Features
from lib_ctrlgen.controls.ip_adapter.face_reader import as_face
from lib_ctrlgen.controls.ip_adapter.file import AdapterWeights
from lib_ctrlgen.controls.ip_adapter.mixed import MixedIPAdapter
from lib_ctrlgen.controls.ip_adapter.prepared import require_widths
from lib_ctrlgen.controls.ip_adapter.reader import Source, WeighedFeatures
from lib_ctrlgen.controls.ip_adapter.references import Mixtures
from lib_ctrlgen.controls.ip_adapter.unit_faces import face_sources
from lib_ctrlgen.controls.ip_adapter.variants import FaceVariant
from lib_ctrlgen.controls.ip_adapter.weight_types import weight_type
from lib_ctrlgen.controls.params import BY_PRESET, PULID, PULID_PRESET, ZERO_TOKENS
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.faces.packs import INSTANT_ID
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.squares import Grid
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param, Value
from lib_ctrlgen.unet.family import require_family
from lib_ctrlgen.unet.orthogonal import NEUTRAL, ORTHO, ORTHO_V2

from .file import pulid_kind, stored_pulid
from .towers import Towers

FACE = FaceVariant(pack=INSTANT_ID, normed=False, crop=True, wide=True)
# The form of the attention and the number of zero tokens of each preset, as in the official demo.
PRESETS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"fidelity": (ORTHO_V2, 8), "style": (ORTHO, 16), "neutral": (NEUTRAL, 0)}
)


@dataclass(frozen=True, kw_only=True)
class PuLID:
    """A loaded PuLID: its head, and keys and values per layer."""

    name: ClassVar[str] = "pulid"
    title: ClassVar[str] = "PuLID"
    params: ClassVar[tuple[Param, ...]] = PULID

    weights: AdapterWeights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a PuLID file, None for other files. Raises ModelError for an incomplete one."""
        return pulid_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> PuLID:
        """Load a file for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)
        weights = stored_pulid(path, target.store, target.placement)
        require_widths([keys.shape[0] for keys, _ in weights.layers], target.shape.attention_hidden)
        return cls(weights=weights)

    @classmethod
    def face_pack(cls, kind: ModelKind, params: Mapping[str, Value], path: str) -> str:
        """The model pack that it was trained with, see `FaceControl`."""
        del kind, params, path
        return FACE.pack

    @property
    def layers(self) -> int:
        """Cross attentions that it reaches (70 on SDXL)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> MixedIPAdapter:
        """Find the faces and read them. Raises RequestError at the unit's fields."""
        require_picture_unit(job, "PuLID", "ControlNets", ADVICE)
        with at_path(f"{job.path}.model"):
            towers = Towers.of(target.store, target.placement)
        kind = weight_type(job.params, target.shape.attention_places, f"{job.path}.params")
        form, zeros = PRESETS[str(job.params[PULID_PRESET.name])]
        asked = int(job.params[ZERO_TOKENS.name])
        sources = face_sources(job, target.store, FACE)
        reader = PuLIDReader(towers=towers, first=sources.main[0])
        head = partial(with_zeros, self.weights.projection, zeros if asked == BY_PRESET else asked)
        return MixedIPAdapter(
            weights=replace(self.weights, projection=head),
            mixtures=Mixtures.read(sources, reader, job),
            kind=replace(kind, weighting=replace(kind.weighting, form=form)),
            seen=side_by_side([look for source in sources.main for look in reader.seen(source)]),
        )


def with_zeros(head: Any, zeros: int, *features: Tensor) -> Tensor:
    """The tokens of a head [B, T, X], and behind them `zeros` tokens of zeros, to which attention can go."""
    tokens: Tensor = head(*features)
    return torch.cat((tokens, tokens.new_zeros(len(tokens), zeros, tokens.shape[-1])), dim=1)


@dataclass(frozen=True, kw_only=True)
class PuLIDReader:
    """Reads faces for PuLID, see `ReferenceReader`: identity [1, 1280] and feature maps [1, N, 1024]."""

    towers: Towers
    first: Source
    loaded: Mapping[str, str] = field(default_factory=dict)
    grid: Grid | None = None

    def tiles(self, source: Source) -> tuple[tuple[WeighedFeatures, ...], ...]:
        """The features of a face, which is one tile."""
        return (((self.whole(source), 1.0),),)

    def whole(self, source: Source) -> Features:
        """The features of a face: its embedding beside the encoder's, and the encoder's feature maps."""
        face = as_face(source)
        embedding, *maps = self._features(face.aligned)
        identity = torch.tensor([face.numbers], dtype=torch.float32).to(embedding)
        return torch.cat((identity, embedding), dim=1), *maps

    def noise(self, source: Source) -> Features:
        """Raises RequestError: an embedding has no noise."""
        raise RequestError(source.path, "a face takes no noise")

    def null(self) -> Features:
        """Zeros in the place of all features."""
        return tuple(map(torch.zeros_like, self.whole(self.first)))

    def seen(self, source: Source) -> Sequence[Image.Image]:
        """What is shown of a face."""
        return [as_face(source).look]

    def _features(self, face: Image.Image | None) -> tuple[Tensor, ...]:
        """The encoder's features of an aligned face; computed once for a store."""
        if face is None:
            raise TypeError("PuLID reads the picture of a face")
        key = "pulid", image_hash(face), *self.towers.key
        return self.towers.store.cached(key, lambda: self.towers.features(face))
