"""Changes the initial noise of a generation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib_ctrlgen.controls.protocols import InitialNoiseControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.spec import ControlUnit


def changed_noise(
    noise: Tensor, units: Sequence[ActiveUnit], variants: Sequence[Sequence[ControlUnit]] = ()
) -> Tensor:
    """Return the initial noise [B, 4, h, w], changed by each unit in proportion to its weight at progress 0.

    Weights are clamped to 0..1. `variants`, if given, are the specs of all units for each picture.
    """
    for place, unit in enumerate(units):
        specs = [variants[image][place] if variants else unit.spec for image in range(len(noise))]
        shares = [
            min(max(spec.schedule(0.0), 0.0), 1.0) if unit.sees(image) else 0.0
            for image, spec in enumerate(specs)
        ]
        for part in unit.parts:
            if isinstance(part.control, InitialNoiseControl) and any(shares):
                share = noise.new_tensor(shares).reshape(-1, 1, 1, 1)
                noise = torch.lerp(noise, part.control.changed_noise(noise), share)
    return noise
