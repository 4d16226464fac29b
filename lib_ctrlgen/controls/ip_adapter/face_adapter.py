"""IP-Adapters that read a face's embedding: FaceID, FaceID-plus, Portrait, and InstantID's.

tencent-ailab's IP-Adapter (ip_adapter_faceid.py); Wang et al. 2024, InstantID. The embedding is that of
ArcFace; FaceID-plus also reads the CLIP features of the aligned face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.params import FACE_ADAPTER, FACEID_V2_WEIGHT, LORA_WEIGHT, VARIANT
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param, Value
from lib_ctrlgen.unet.family import require_family

from .adapter import ADVICE, side_by_side
from .detect import face_adapter_kind
from .face_reader import FaceReader
from .file import AdapterWeights, stored_adapter
from .lora import AttentionLora, require_lora_fits
from .mixed import MixedIPAdapter
from .prepared import require_widths
from .references import Mixtures
from .unit_faces import face_sources
from .variants import KNOWN, chosen
from .weight_types import weight_type


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

    @classmethod
    def face_pack(cls, kind: ModelKind, params: Mapping[str, Value], path: str) -> str:
        """The model pack of a variant, see `FaceControl`."""
        asked = str(params.get(VARIANT.name, VARIANT.default))
        return KNOWN[chosen(kind.variant, asked, f"{path}.{VARIANT.name}")].pack

    @property
    def layers(self) -> int:
        """Cross-attentions that the adapter reaches (16 on SD1.5)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> FaceUnit:
        """Find the faces and read them. Raises RequestError at the unit's fields."""
        require_picture_unit(job, "an IP-Adapter", "ControlNets", ADVICE)
        variant = chosen(self.known, str(job.params[VARIANT.name]), f"{job.path}.params.{VARIANT.name}")
        kind = weight_type(job.params, target.shape.attention_places, f"{job.path}.params")
        sources = face_sources(job, target.store, KNOWN[variant])
        reader = FaceReader.of(self.weights, job, target, KNOWN[variant])
        unit = FaceUnit(
            weights=self._with_shortcut(variant, float(job.params[FACEID_V2_WEIGHT.name])),
            mixtures=Mixtures.read(sources, reader, job),
            kind=kind,
            seen=side_by_side([look for source in sources.main for look in reader.seen(source)]),
            loaded=reader.loaded,
            variant=variant,
        )
        lora, weight = self.weights.lora, float(job.params[LORA_WEIGHT.name])
        return unit if lora is None or weight == 0.0 else unit.with_lora(lora, weight)

    def _with_shortcut(self, variant: str, shortcut: float) -> AdapterWeights:
        """The weights, whose head adds the identity's tokens if the variant is FaceID-plus v2."""
        if variant != "faceid_plus_v2":
            return self.weights
        return replace(self.weights, projection=partial(self.weights.projection, shortcut=shortcut))


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceUnit(MixedIPAdapter):
    """One unit of a generation. `seen` shows its faces."""

    variant: str

    def with_lora(self, lora: AttentionLora, weight: float) -> FaceIDUnit:
        """The same unit with the LoRA of its file."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return FaceIDUnit(**own, lora=lora, lora_weight=weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceIDUnit(FaceUnit):
    """One unit with a LoRA, see `LoraControl`."""

    lora: AttentionLora
    lora_weight: float

    def without_lora(self) -> FaceUnit:
        """The same unit without the LoRA, for a host that has loaded it already."""
        return FaceUnit(**{each.name: getattr(self, each.name) for each in fields(FaceUnit)})
