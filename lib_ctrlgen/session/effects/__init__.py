"""The effects: each file is one way in which controls act on U-Net calls, listed in `EFFECTS`."""

from __future__ import annotations

from .attention import AttentionEffect
from .base import UnitEffect
from .denoised import PredictionEffect
from .extra_tokens import ContextEffect
from .features import FeatureEffect
from .finishing import FinishingEffect
from .gated import GatedEffect
from .linear_inputs import InputEffect
from .residual import ResidualEffect

__all__ = ["EFFECTS", "UnitEffect"]

EFFECTS: tuple[type[UnitEffect], ...] = (
    AttentionEffect,
    ContextEffect,
    FeatureEffect,
    FinishingEffect,
    GatedEffect,
    InputEffect,
    PredictionEffect,
    ResidualEffect,
)
