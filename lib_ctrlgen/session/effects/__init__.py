"""The effects: each file is one way in which controls act on U-Net calls, listed in `EFFECTS`."""

from __future__ import annotations

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

__all__ = ["EFFECTS", "UnitEffect"]

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
