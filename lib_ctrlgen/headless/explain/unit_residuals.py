"""Observes what each unit of a generation adds to the U-Net's skip connections and mid block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import ResidualControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.effects.base import ActingUnit, Masks, control_of
from lib_ctrlgen.session.effects.residual import ResidualEffect, acting_rows
from lib_ctrlgen.session.row_weights import row_weight_of
from lib_ctrlgen.unet.call import Position, UNetCall
from lib_ctrlgen.unet.diffusers_unet import read_diffusers
from lib_ctrlgen.unet.port import Hooks
from lib_ctrlgen.unet.residuals import Residuals

from .work import Bench, Observer


@dataclass
class UnitResiduals(Observer):
    """For each U-Net call the weighted residuals of each unit, and the size of what they are added to.

    added    for each call, by the unit's place, its residuals for all rows of the call; a unit that does
             not act in a call is left out
    skips    for each call the root mean square of each encoder output and of the mid block's output
    """

    added: list[dict[int, Residuals]] = field(default_factory=list)
    skips: list[list[float]] = field(default_factory=list)
    effect: ResidualEffect = field(default_factory=lambda: ResidualEffect(Masks()))

    def before(self, hooks: Hooks, bench: Bench) -> None:
        """Measure the encoder's outputs and that of the mid block."""
        self.effect.install(hooks, bench.port)
        blocks = bench.port.blocks()

        def begin(_module: nn.Module, _args: object) -> None:
            self.skips.append([])

        def measure(_module: nn.Module, _args: object, output: Any) -> None:
            found: Tensor = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
            self.skips[-1].append(rms(found))

        hooks.add(bench.port.module.register_forward_pre_hook(begin))
        for module in (*blocks.encoder, blocks.middle):
            hooks.add(module.register_forward_hook(measure))

    def after(self, hooks: Hooks, bench: Bench) -> None:
        """Compute each unit's residuals for the inputs of every call."""

        def compute(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs = read_diffusers(args, kwargs)
            parts = {
                place: self.of(
                    unit, UNetCall(inputs=inputs, position=bench.clock.now, unet=bench.port.module), bench
                )
                for place, unit in enumerate(bench.units)
                if isinstance(unit.control, ResidualControl)
            }
            self.added.append({place: each for place, each in parts.items() if each is not None})

        hooks.add(bench.port.module.register_forward_pre_hook(compute, with_kwargs=True))

    def of(self, unit: ActiveUnit, call: UNetCall, bench: Bench) -> Residuals | None:
        """A unit's weighted residuals for all rows of a call; None if it acts on none of them."""
        weight = bench.weight(unit, call.position.step)
        acting = ActingUnit(unit=unit, row_weights=row_weights(unit, weight, call.position))
        rows = acting_rows(acting)
        if not rows:
            return None
        found = control_of(unit, ResidualControl).residuals(call.select(rows))
        return self.effect.weighted(acting, found, call)

    def cond(self, step: int, place: int) -> Residuals | None:
        """A unit's residuals for the last row of a call, which is conditional; None if it does not act."""
        found = self.added[step].get(place)
        return None if found is None else found.select([len(found.mid) - 1])


def row_weights(unit: ActiveUnit, weight: float, position: Position) -> list[Any]:
    """The row weight of a unit for each row of a call."""
    return [row_weight_of(unit, unit.spec, weight, position, row) for row in range(len(position.rows))]


def rms(values: Tensor) -> float:
    """The root mean square of all numbers of a tensor."""
    return float(values.float().square().mean().sqrt())


def strip(found: Residuals | None, layers: int) -> list[float]:
    """The root mean square of each layer's residual; zeros if a unit does not act."""
    return [0.0] * layers if found is None else [rms(layer) for layer in found.layers]


def layer_names(strides: Sequence[int]) -> list[str]:
    """Names of the residuals: what fraction of the latent's size each has.

    >>> layer_names((1, 1, 2, 2))
    ['0  1/1', '1  1/1', '2  1/2', 'mid  1/2']
    """
    names = [f"{number}  1/{stride}" for number, stride in enumerate(strides)]
    return [*names[:-1], f"mid  1/{strides[-1]}"]


def cosine_map(one: Tensor, other: Tensor) -> Tensor:
    """The cosine [h, w] between the channels of two residuals [1, C, h, w] at each place, -1..1."""
    return torch.cosine_similarity(one.float(), other.float(), dim=1)[0]


def cosine(one: Tensor, other: Tensor) -> float:
    """The cosine of two tensors as vectors."""
    return float(torch.cosine_similarity(one.float().flatten(), other.float().flatten(), dim=0))
