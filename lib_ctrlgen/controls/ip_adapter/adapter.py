"""IP-Adapter: attention over the tokens of reference pictures, beside the text's.

Ye et al. 2023, IP-Adapter: Text Compatible Image Prompt Adapter. Plain, plus and full
variants; masks and schedules are applied by the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.params import IP_ADAPTER
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.family import require_family

from .detect import ip_adapter_kind
from .file import AdapterWeights, stored_adapter
from .mixed import MixedIPAdapter
from .prepared import PreparedIPAdapter, require_widths
from .reader import ClipReader
from .references import Mixtures, Sources
from .weight_types import weight_type

ADVICE = ": lower its weight, or give layer_weights, to let the prompt lead"


@dataclass(frozen=True, kw_only=True)
class IPAdapter:
    """A loaded adapter: the projection to image tokens, and keys and values per layer."""

    name: ClassVar[str] = "ip_adapter"
    title: ClassVar[str] = "IP-Adapter"
    params: ClassVar[tuple[Param, ...]] = IP_ADAPTER

    weights: AdapterWeights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of an IP-Adapter's file, None for other files. Raises ModelError for a broken one."""
        return ip_adapter_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> IPAdapter:
        """Load an adapter for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)
        weights = stored_adapter(path, target.store, target.placement)
        require_widths([keys.shape[0] for keys, _ in weights.layers], target.shape.attention_hidden)
        return cls(weights=weights)

    @property
    def layers(self) -> int:
        """Cross-attentions that the adapter reaches (16 on SD1.5)."""
        return len(self.weights.layers)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedIPAdapter | MixedIPAdapter:
        """Read the references (each once, see the store). Raises RequestError at the unit's fields."""
        require_picture_unit(job, "an IP-Adapter", "ControlNets", ADVICE)
        kind = weight_type(job.params, target.shape.attention_places, f"{job.path}.params")
        sources = Sources.of(job)
        reader = ClipReader.of(self.weights, job, target, sources.main[0])
        mixed = MixedIPAdapter(
            weights=self.weights,
            mixtures=Mixtures.read(sources, reader, job),
            kind=kind,
            grid=reader.grid,
            averaged=job.unit.semantics is not None,
            seen=side_by_side([look for source in sources.main for look in reader.seen(source)]),
            loaded=reader.loaded,
        )
        return mixed if mixed.mixtures.changing or mixed.grid else mixed.whole


def side_by_side(squares: Sequence[Image.Image]) -> Image.Image:
    """Squares of one size in one picture."""
    side = squares[0].width
    row = Image.new("RGB", (side * len(squares), side))
    for place, square in enumerate(squares):
        row.paste(square, (place * side, 0))
    return row
