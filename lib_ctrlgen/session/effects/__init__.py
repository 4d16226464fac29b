"""The effects: each file is one way in which controls act on U-Net calls, listed in `EFFECTS`."""

from __future__ import annotations

from collections.abc import Sequence

from lib_ctrlgen.controls.unit import ActiveUnit

from .attention import AttentionEffect
from .attention_lora import AttentionLoraEffect
from .base import UnitEffect
from .denoised import PredictionEffect
from .extra_tokens import ContextEffect
from .features import FeatureEffect
from .finishing import FinishingEffect
from .gated import GatedEffect
from .linear_inputs import InputEffect
from .pooled import PooledEffect
from .reference import ReferenceEffect
from .residual import ResidualEffect
from .style_aligned import AlignedEffect

__all__ = ["EFFECTS", "UnitEffect", "effect_classes"]

# Reference calls must be made before another effect has prepared the host's call. StyleAligned comes
# after them, so that it aligns with what they made of the first picture.
EFFECTS: tuple[type[UnitEffect], ...] = (
    ReferenceEffect,
    AttentionLoraEffect,
    AlignedEffect,
    PooledEffect,
    AttentionEffect,
    ContextEffect,
    FeatureEffect,
    FinishingEffect,
    GatedEffect,
    InputEffect,
    PredictionEffect,
    ResidualEffect,
)


def effect_classes(parts: Sequence[ActiveUnit]) -> list[type[UnitEffect]]:
    """Return the effect classes that the parts need. Raises TypeError for a control with no effect class."""
    kinds = tuple(kind.control for kind in EFFECTS)
    for part in parts:
        if not isinstance(part.control, kinds):
            raise TypeError(f"{type(part.control).__name__} acts in no way that is known here")
    return [kind for kind in EFFECTS if any(isinstance(part.control, kind.control) for part in parts)]
