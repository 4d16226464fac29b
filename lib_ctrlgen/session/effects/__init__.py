"""The effects: each file is one way in which controls act on U-Net calls, listed in `EFFECTS`."""

from __future__ import annotations

from .attention import AttentionEffect
from .attention_lora import AttentionLoraEffect
from .base import UnitEffect
from .denoised import PredictionEffect
from .extra_tokens import ContextEffect
from .features import FeatureEffect
from .finishing import FinishingEffect
from .linear_inputs import InputEffect
from .residual import ResidualEffect

__all__ = ["EFFECTS", "UnitEffect"]

# Hooks run in this order: what a LoRA adds is read by the effects behind it.
EFFECTS: tuple[type[UnitEffect], ...] = (
    AttentionLoraEffect,
    AttentionEffect,
    ContextEffect,
    FeatureEffect,
    FinishingEffect,
    InputEffect,
    PredictionEffect,
    ResidualEffect,
)
