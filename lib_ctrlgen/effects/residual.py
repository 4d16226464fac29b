"""Residuals on the U-Net's skip connections and middle block: ControlNet and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lib_ctrlgen.calls import UNetCall
from lib_ctrlgen.doses import layer_factors
from lib_ctrlgen.repeats import Repeats
from lib_ctrlgen.residuals import Residuals, total
from lib_ctrlgen.unet import Hooks, UNetPort
from lib_ctrlgen.units import ActiveUnit, ResidualControl

from .base import ActingUnit, Doses, Masks


class ResidualEffect:
    """Asks each control for its residuals; the port adds their weighted sum."""

    control: ClassVar[type] = ResidualControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """The port adds residuals by itself."""

    def begin(
        self, call: UNetCall, acting: Sequence[ActingUnit], classes: Sequence[int] | None
    ) -> Residuals | None:
        """The sum of all units' residuals for the whole batch."""
        parts = [self.residuals(each.unit, each.doses, call, classes) for each in acting]
        return total(parts) if parts else None

    def residuals(
        self, unit: ActiveUnit, doses: Doses, call: UNetCall, classes: Sequence[int] | None
    ) -> Residuals:
        """One unit's weighted residuals for the whole batch; rows of one class share a computation."""
        rows = [row for row, dose in enumerate(doses) if dose is not None]
        raw = self.raw(unit, call, rows, classes)
        acting = [doses[row] for row in rows]
        residuals = raw.scaled(layer_factors(acting, len(raw.layers)))
        mask = self.masks.of(unit, acting, call)
        if mask is not None:
            residuals = residuals.masked(mask)
        residuals = residuals.to(call.inputs.x)
        return residuals if len(rows) == call.batch else residuals.scatter(rows, call.batch)

    def raw(
        self, unit: ActiveUnit, call: UNetCall, rows: Sequence[int], classes: Sequence[int] | None
    ) -> Residuals:
        """The unweighted residuals of these rows: the network sees each distinct one once."""
        control = unit.control
        if not isinstance(control, ResidualControl):
            raise TypeError(f"{type(control).__name__} gives no residuals")
        if classes is None:
            return control.residuals(call.select(rows))
        shared = Repeats.of([classes[row] for row in rows])
        found = control.residuals(call.select([rows[i] for i in shared.firsts]))
        return found.select(shared.inverse) if shared else found

    def end(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is kept."""
