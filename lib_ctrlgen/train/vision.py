"""Which CLIP vision encoder measures a training's previews, and what to say where there is none."""

from __future__ import annotations

from lib_ctrlgen.tuner.scoring.clip_likeness import Likeness, encoder_for, no_encoder

from .methods.base import Base


def likeness_of(base: Base) -> Likeness:
    """What measures likeness and prompt accuracy; its encoder is None where no vision encoder can."""
    return Likeness(base.store, encoder_for(base.store, base.networks.text_encoders[0].width))


def unmeasured(base: Base) -> str:
    """Why likeness and prompt accuracy are not measured; empty where they are."""
    if likeness_of(base).encoder is not None:
        return ""
    return f"likeness and prompt accuracy are not measured: {no_encoder(base.store)}"
