"""Adds residuals to the U-Net's skip connections and mid block, for ControlNets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_ctrlgen.controls.protocols import BatchedControl, ResidualControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.progress import computing
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import Residuals, controlnet_soft_weights, total
from lib_ctrlgen.unet.shared_rows import SharedRows

from .base import ActingUnit, Masks, mapped_control, mask_fit
from .fusion import fused
from .reuse import ReusedResiduals


@dataclass(frozen=True, kw_only=True)
class NetworkCall:
    """A call of one unit's control with the rows to compute; `shared` maps them to the unit's rows.

    `indices` are the unit's index, or those of all units that were merged into it.
    """

    control: ResidualControl
    call: UNetCall
    indices: tuple[int | str, ...] = ()
    shared: SharedRows | None = None

    @property
    def network(self) -> int:
        """An id that is equal for units whose residuals one call of their network can compute together."""
        return id(self.control.model if isinstance(self.control, BatchedControl) else self)


class ResidualEffect:
    """Computes the weighted sum of all units' residuals, which the port adds; each network runs once."""

    control: ClassVar[type] = ResidualControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.kept = ReusedResiduals()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Add no hooks, since the port adds residuals; clear the residuals cached with another U-Net."""
        del hooks
        self.shape = port.shape
        self.kept.clear()

    def begin(
        self, call: UNetCall, acting: Sequence[ActingUnit], classes: Sequence[int] | None
    ) -> Residuals | None:
        """Return the sum of all units' weighted residuals for the whole batch, None if no unit acts."""
        joined = fused(acting)
        found = self.raw(joined, call, classes)
        parts = [self.weighted(each, raw, call) for each, raw in zip(joined, found, strict=True)]
        return total(parts) if parts else None

    def raw(
        self, acting: Sequence[ActingUnit], call: UNetCall, classes: Sequence[int] | None
    ) -> list[Residuals]:
        """Return each unit's unweighted residuals for its rows, from its network or from an earlier step."""
        self.kept.move(call)
        rows = [acting_rows(each) for each in acting]
        due = [self.kept.due(each, own, call) for each, own in zip(acting, rows, strict=True)]
        calls = {
            place: network_call(each, own, call, classes)
            for place, (each, own) in enumerate(zip(acting, due, strict=True))
            if own
        }
        found = dict(zip(calls, run_networks(list(calls.values())), strict=True))
        return [
            self.kept.taken(each, rows[place], due[place], found.get(place), call)
            for place, each in enumerate(acting)
        ]

    def weighted(self, each: ActingUnit, raw: Residuals, call: UNetCall) -> Residuals:
        """Return one unit's weighted, masked residuals for the whole batch.

        `raw` are its residuals for the rows on which it acts. Raises HostError if they do not fit the U-Net.
        """
        rows = acting_rows(each)
        row_weights = [each.row_weights[row] for row in rows]
        try:
            raw.require(len(rows), self.shape.residual_sizes(*call.inputs.x.shape[-2:]))
        except HostError as error:
            raise HostError(f"{each.unit.path}: {error}") from error
        softness = None if each.unit.spec.semantics is None else controlnet_soft_weights(len(raw.layers))
        residuals = raw.scaled(layer_factors(row_weights, len(raw.layers), softness))
        mask = self.masks.of(each.unit, row_weights, call)
        if mask is not None:
            residuals = residuals.masked(mask, mask_fit(each.unit))
        residuals = residuals.to(call.inputs.x)
        return residuals if len(rows) == call.batch else residuals.scatter(rows, call.batch)

    def end(self) -> None:
        """Do nothing: cached residuals are for later calls."""

    def close(self) -> None:
        """Clear the cached residuals."""
        self.kept.clear()


def acting_rows(each: ActingUnit) -> list[int]:
    """Return the indices of the rows on which a unit acts."""
    return [row for row, row_weight in enumerate(each.row_weights) if row_weight is not None]


def network_call(
    each: ActingUnit, rows: Sequence[int], call: UNetCall, classes: Sequence[int] | None
) -> NetworkCall:
    """Return the call of a unit's control for these rows; rows of one class are computed once."""
    control = mapped_control(each, ResidualControl, rows)
    if classes is None:
        return NetworkCall(control=control, call=call.select(rows), indices=each.indices)
    shared = SharedRows.of([classes[row] for row in rows])
    distinct = call.select([rows[i] for i in shared.firsts])
    return NetworkCall(control=control, call=distinct, indices=each.indices, shared=shared or None)


def run_networks(calls: Sequence[NetworkCall]) -> list[Residuals]:
    """Return the unweighted residuals of each call; calls of the same network are run as one."""
    networks: dict[int, list[int]] = {}
    for place, each in enumerate(calls):
        networks.setdefault(each.network, []).append(place)
    found: dict[int, Residuals] = {}
    for places in networks.values():
        units = dict.fromkeys(index for place in places for index in calls[place].indices)
        calls[places[0]].call.tell(computing(list(units)))
        found |= dict(zip(places, run_network([calls[place] for place in places]), strict=True))
    return [spread(each, found[place]) for place, each in enumerate(calls)]


def run_network(calls: Sequence[NetworkCall]) -> list[Residuals]:
    """Return the residuals of several units' calls of one network, computed in one batch if it can."""
    batched = [(each.control, each.call) for each in calls if isinstance(each.control, BatchedControl)]
    if len(calls) == 1 or not batched:
        return [each.control.residuals(each.call) for each in calls]
    return batched[0][0].model.together([control.part(call) for control, call in batched])


def spread(call: NetworkCall, found: Residuals) -> Residuals:
    """Repeat rows that were computed once for all rows that share them."""
    return found if call.shared is None else found.select(call.shared.inverse)
