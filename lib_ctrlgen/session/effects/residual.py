"""Residuals on the U-Net's skip connections and middle block: ControlNet and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_ctrlgen.controls.protocols import BatchedControl, ResidualControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import layer_factors
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import Residuals, total
from lib_ctrlgen.unet.shared_rows import SharedRows

from .base import ActingUnit, Masks, control_of
from .fusion import fused
from .reuse import ReusedResiduals


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one unit asks of its control: the rows to compute, and how they stand for the unit's own."""

    control: ResidualControl
    call: UNetCall
    shared: SharedRows | None = None

    @property
    def network(self) -> int:
        """The same number for those that one call of their network can answer."""
        return id(self.control.model if isinstance(self.control, BatchedControl) else self)


class ResidualEffect:
    """Asks each network once for the residuals of all its units; the port adds their weighted sum."""

    control: ClassVar[type] = ResidualControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.kept = ReusedResiduals()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """The port adds residuals by itself. What another U-Net's inputs gave is forgotten."""
        del hooks
        self.shape = port.shape
        self.kept.clear()

    def begin(
        self, call: UNetCall, acting: Sequence[ActingUnit], classes: Sequence[int] | None
    ) -> Residuals | None:
        """The sum of all units' residuals for the whole batch."""
        joined = fused(acting)
        found = self.raw(joined, call, classes)
        parts = [self.weighted(each, raw, call) for each, raw in zip(joined, found, strict=True)]
        return total(parts) if parts else None

    def raw(
        self, acting: Sequence[ActingUnit], call: UNetCall, classes: Sequence[int] | None
    ) -> list[Residuals]:
        """Each unit's unweighted residuals of its rows: those that are due from the networks, others kept."""
        self.kept.move(call)
        rows = [acting_rows(each) for each in acting]
        due = [self.kept.due(each, own, call) for each, own in zip(acting, rows, strict=True)]
        questions = {
            place: asked(each, own, call, classes)
            for place, (each, own) in enumerate(zip(acting, due, strict=True))
            if own
        }
        found = dict(zip(questions, answers(list(questions.values())), strict=True))
        return [
            self.kept.taken(each, rows[place], due[place], found.get(place), call)
            for place, each in enumerate(acting)
        ]

    def weighted(self, each: ActingUnit, raw: Residuals, call: UNetCall) -> Residuals:
        """One unit's residuals for the whole batch; `raw` are those of the rows on which it acts."""
        rows = acting_rows(each)
        doses = [each.doses[row] for row in rows]
        try:
            raw.require(len(rows), self.shape.residual_sizes(*call.inputs.x.shape[-2:]))
        except HostError as error:
            raise HostError(f"{each.unit.path}: {error}") from error
        residuals = raw.scaled(layer_factors(doses, len(raw.layers)))
        mask = self.masks.of(each.unit, doses, call)
        if mask is not None:
            residuals = residuals.masked(mask)
        residuals = residuals.to(call.inputs.x)
        return residuals if len(rows) == call.batch else residuals.scatter(rows, call.batch)

    def end(self) -> None:
        """What is kept is for later calls."""

    def close(self) -> None:
        """Forget what is kept."""
        self.kept.clear()


def acting_rows(each: ActingUnit) -> list[int]:
    """The rows on which a unit acts."""
    return [row for row, dose in enumerate(each.doses) if dose is not None]


def asked(each: ActingUnit, rows: Sequence[int], call: UNetCall, classes: Sequence[int] | None) -> Asked:
    """What a unit asks for these rows: those of one class once."""
    control = control_of(each.unit, ResidualControl)
    if classes is None:
        return Asked(control=control, call=call.select(rows))
    shared = SharedRows.of([classes[row] for row in rows])
    distinct = call.select([rows[i] for i in shared.firsts])
    return Asked(control=control, call=distinct, shared=shared or None)


def answers(questions: Sequence[Asked]) -> list[Residuals]:
    """The unweighted residuals that each asks for, with one call for each network."""
    networks: dict[int, list[int]] = {}
    for place, question in enumerate(questions):
        networks.setdefault(question.network, []).append(place)
    found: dict[int, Residuals] = {}
    for places in networks.values():
        found |= dict(zip(places, one_call([questions[place] for place in places]), strict=True))
    return [spread(question, found[place]) for place, question in enumerate(questions)]


def one_call(questions: Sequence[Asked]) -> list[Residuals]:
    """What one network answers to all of them."""
    batched = [(each.control, each.call) for each in questions if isinstance(each.control, BatchedControl)]
    if len(questions) == 1 or not batched:
        return [each.control.residuals(each.call) for each in questions]
    return batched[0][0].model.together([control.part(call) for control, call in batched])


def spread(question: Asked, found: Residuals) -> Residuals:
    """Rows that were computed once, as often as they are asked for."""
    return found if question.shared is None else found.select(question.shared.inverse)
