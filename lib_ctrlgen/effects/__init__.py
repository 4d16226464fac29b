"""The ways in which controls act on a U-Net's calls: one file for each, and a line in `EFFECTS`."""

from __future__ import annotations

from .attention import AttentionEffect
from .base import UnitEffect
from .context import ContextEffect
from .features import FeatureEffect
from .inputs import InputEffect
from .prediction import PredictionEffect
from .residual import ResidualEffect

__all__ = ["EFFECTS", "UnitEffect"]

EFFECTS: tuple[type[UnitEffect], ...] = (
    AttentionEffect,
    ContextEffect,
    FeatureEffect,
    InputEffect,
    PredictionEffect,
    ResidualEffect,
)
