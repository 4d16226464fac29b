"""The control session: the only code that puts hooks on a U-Net.

Inside `with ControlSession(port, units, clock):` the units act on every U-Net call; afterwards all
hooks are removed, even after an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from types import TracebackType

from PIL import Image

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.inactive import Passes, planned, require_acting
from lib_ctrlgen.request.notices import Notice
from lib_ctrlgen.request.plan import StepPlan, compile_plan
from lib_ctrlgen.request.progress import sampling, silent
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.clocks import Clock
from lib_ctrlgen.unet.finite import CheckedCall, FiniteWatch
from lib_ctrlgen.unet.port import Effect, Hooks, UNetPort
from lib_ctrlgen.unet.residuals import Residuals, total
from lib_ctrlgen.unet.shared_rows import SharedRows, row_classes

from .assigned_maps import AssignedMaps
from .effects import UnitEffect, effect_classes
from .effects.base import ActingUnit, Masks, RowWeights, coupled_keys
from .effects.finishing import FinishingEffect
from .row_weights import row_weight_of
from .suspects import Suspects, not_finite


class ControlSession:
    """Applies units to every call of a U-Net while it is open.

    `variants`, if given, are the specs of all units for each image of the batch, which differ only in
    their numbers. The tuner samples many cells in one batch this way: rows whose inputs are still equal
    are computed once. `rows_asked` counts the rows that the host passed, `rows_computed` those that the
    U-Net computed. `assigned` are control maps that the host may assign before any call. `tell` is called
    with a text for each network that runs in a call of the U-Net, and with an empty one after the call.

    Raises HostError when the host calls the U-Net in a way that is not supported, and the error of
    `suspects.not_finite` when a prediction is not finite: during a later call or when the session closes.
    """

    def __init__(
        self,
        port: UNetPort,
        units: Sequence[ActiveUnit],
        clock: Clock,
        variants: Sequence[Sequence[ControlUnit]] = (),
        tell: Callable[[str], object] = silent,
    ) -> None:
        self.port = port
        self.tell = tell
        self.units = tuple(units)
        self._parts = tuple((place, part) for place, unit in enumerate(units) for part in unit.parts)
        self.clock = clock
        self.variants = tuple(variants)
        self.calls = self.rows_asked = self.rows_computed = 0
        indices = list(dict.fromkeys(unit.index for unit in self.units))
        self._lines = [indices.index(unit.index) for unit in self.units]
        self.plan_for = lru_cache(maxsize=256)(self._plan)
        self._shape = port.shape
        self._hooks = Hooks()
        self._masks = Masks()
        self.assigned = AssignedMaps()
        self._effects = [kind(self._masks) for kind in effect_classes([part for _, part in self._parts])]
        self._finishing = [each for each in self._effects if isinstance(each, FinishingEffect)]
        self._acted: dict[int | None, set[tuple[int | str, bool]]] = {}
        self._passes: dict[bool, Position] = {}  # by hires: the last call of the first and of the hires pass
        self._position = Position(0, 1, Rows((), ()))
        self._suspects: Suspects | None = None
        self._watch = FiniteWatch(self._refuse)

    def __enter__(self) -> ControlSession:
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # the host's own exception may be due to NaN: ours names the unit that caused it
            if kind is None or issubclass(kind, Exception):
                self.wait_for_checks()
        finally:
            self._close()

    def wait_for_checks(self) -> None:
        """Wait for the checks of all predictions so far; raise the error of the first that is not finite."""
        self._watch.wait_for_checks()

    def _close(self) -> None:
        self._hooks.close()
        self._watch.clear()
        for effect in self._effects:
            effect.close()
        self._masks.fitted.clear()
        self.assigned.maps.clear()

    def retarget(self, port: UNetPort) -> None:
        """Move the hooks to another U-Net of the same shape, such as a refiner during sampling.

        Raises HostError when the new U-Net has another shape; the hooks are removed then.
        """
        self.wait_for_checks()
        self._hooks.close()
        if port.shape != self._shape:
            raise HostError(
                f"a checkpoint with another U-Net took over in mid-generation ({self._shape.family}, then "
                f"{port.shape.family}), and the controls do not fit both: switch the refiner or the "
                "hires checkpoint off, or the units"
            )
        self.port = port
        self._install()

    def _plan(self, steps: int, hires: bool = False, variant: int | None = None) -> StepPlan:
        """Compile the plan of all units for a pass; it has one line for each unit, not for each part."""
        specs = self._specs(variant)
        named = {unit.index: spec for unit, spec in zip(self.units, specs, strict=True)}
        return compile_plan(list(named.items()), steps, hires=hires)

    def _install(self) -> None:
        self._hooks.close()
        if not self.units and not self.variants:
            return
        self._hooks = Hooks()
        with self._hooks as partial:
            self.port.attach(partial, self._before, self._after)
            for effect in self._effects:
                effect.install(partial, self.port)
            self._watch.install(partial, self.port.module, lambda: self._position)
            self._hooks = partial.pop_all()

    def _before(self, inputs: CallInputs) -> Effect:
        """Prepare every effect for a U-Net call; return the summed residuals and the rows computed once."""
        position, row_weights = self._placed(int(inputs.x.shape[0]))
        call = UNetCall(inputs=inputs, position=position, unet=self.port.module, tell=self.tell)
        self.assigned.require(call, self._acting_parts(row_weights))
        classes, repeats = None, None
        if self.variants:
            classes = row_classes(inputs)
            own = list(zip(classes, call.position.rows.cond, *row_weights, strict=True))
            acting = [(effect, self._acting(effect, call, row_weights)) for effect in self._effects]
            repeats = SharedRows.of(coupled_keys(own, call, acting))
            classes = [classes[row] for row in repeats.firsts]
            row_weights = [tuple(each[row] for row in repeats.firsts) for each in row_weights]
            call = call.shared(repeats.inverse, repeats.firsts)
        self.calls += 1
        self.rows_asked += int(inputs.x.shape[0])
        self.rows_computed += call.batch
        parts = [self._begin(effect, call, row_weights, classes) for effect in self._effects]
        found = [part for part in parts if part is not None]
        self.tell(sampling(list(dict.fromkeys(part.index for part in self._acting_parts(row_weights)))))
        return Effect(total(found) if found else None, repeats)

    def _placed(self, batch: int) -> tuple[Position, list[RowWeights]]:
        """Return the position of a call with `batch` rows, and the row weights of each part of a unit."""
        if self._suspects is not None:
            position = self._suspects.position
            return position, self._suspects.alone(
                self._row_weights(position), [unit for _, unit in self._parts]
            )
        self._position = self.clock(batch)
        row_weights = self._row_weights(self._position)
        self._note_acted(self._position, row_weights)
        return self._position, row_weights

    def _refuse(self, call: CheckedCall) -> None:
        """Find the cause of a prediction that is not finite, and raise its error."""
        acting = self._acting_parts(self._row_weights(call.position))
        self._suspects = Suspects(call.position)
        try:
            raise not_finite(call, acting, self._suspects)
        finally:
            self._suspects = None

    def _begin(
        self,
        effect: UnitEffect,
        call: UNetCall,
        row_weights: Sequence[RowWeights],
        classes: Sequence[int] | None,
    ) -> Residuals | None:
        """Call `begin` of an effect with the units of its kind that act in this call."""
        return effect.begin(call, self._acting(effect, call, row_weights), classes)

    def _acting(
        self, effect: UnitEffect, call: UNetCall, row_weights: Sequence[RowWeights]
    ) -> list[ActingUnit]:
        """Return the units of an effect's kind that act in a call."""
        return [
            self.assigned.given(ActingUnit(unit=part, row_weights=each), call)
            for (_, part), each in zip(self._parts, row_weights, strict=True)
            if isinstance(part.control, effect.control) and any(each)
        ]

    def _acting_parts(self, row_weights: Sequence[RowWeights]) -> list[ActiveUnit]:
        return [part for (_, part), each in zip(self._parts, row_weights, strict=True) if any(each)]

    def _after(self) -> None:
        for effect in self._effects:
            effect.end()
        self.tell("")

    def _row_weights(self, position: Position) -> list[RowWeights]:
        """Return the row weights of each part for all rows of a call."""
        images = position.rows.image
        plans = {i: self.plan_for(position.steps, position.hires, self._variant(i)) for i in set(images)}
        return [
            tuple(
                row_weight_of(
                    part,
                    self._specs(self._variant(image))[place],
                    plans[image].weights[self._lines[place]][position.step],
                    position,
                    row,
                    plans[image].computed[self._lines[place]][position.step],
                )
                for row, image in enumerate(images)
            )
            for place, part in self._parts
        ]

    def _note_acted(self, position: Position, row_weights: Sequence[RowWeights]) -> None:
        """Remember which units acted in this pass."""
        self._passes[position.hires] = position
        for (_, part), each in zip(self._parts, row_weights, strict=True):
            for row, row_weight in enumerate(each):
                if row_weight is not None:
                    variant = self._variant(position.rows.image[row])
                    self._acted.setdefault(variant, set()).add((part.index, position.hires))

    def expected(self, passes: Passes) -> list[Notice]:
        """Return a notice for each unit that will not act, given the number of steps of each pass.

        Raises RequestError for a unit that cannot act at all although its request does not switch it off.
        """
        return [
            notice
            for variant, units in self._requested()
            for notice in _of(variant, require_acting(units, passes, planned(units, passes)))
        ]

    def observed(self) -> list[Notice]:
        """Return a notice for each unit that did not act in the calls so far, none after an interruption.

        Raises RequestError as `expected` does.
        """
        if not self._passes or any(last.step + 2 < last.steps for last in self._passes.values()):
            return []  # a second-order sampler may call the U-Net only once in its last step
        passes = {hires: last.steps for hires, last in self._passes.items()}
        return [
            notice
            for variant, units in self._requested()
            for notice in _of(variant, require_acting(units, passes, self._acted.get(variant, set())))
        ]

    def _requested(self) -> list[tuple[int | None, list[tuple[int | str, ControlUnit]]]]:
        """Return for each variant the index and the spec of every unit, without repeating a unit."""
        variants = range(len(self.variants)) if self.variants else (None,)
        places = [unit.index for unit in self.units]
        return [(each, list(dict(zip(places, self._specs(each), strict=True)).items())) for each in variants]

    @property
    def finishes(self) -> bool:
        """Whether a unit that changes finished pictures acted in the last call of some image."""
        return any(effect.acts for effect in self._finishing)

    def finished(self, image: int, picture: Image.Image) -> Image.Image:
        """Return the finished picture of an image, changed by the units that acted in its last call.

        Each change is limited to the unit's mask. The session may be closed already.
        """
        for effect in self._finishing:
            picture = effect.finished(image, picture)
        return picture

    def _variant(self, image: int) -> int | None:
        """Return the image's index into `variants`, None without variants. Raises HostError past the last."""
        if self.variants and image >= len(self.variants):
            raise HostError(f"the host samples picture {image} of a batch prepared for {len(self.variants)}")
        return image if self.variants else None

    def _specs(self, variant: int | None) -> Sequence[ControlUnit]:
        return [unit.spec for unit in self.units] if variant is None else self.variants[variant]


def _of(variant: int | None, notices: Sequence[Notice]) -> list[Notice]:
    """Return the notices with the picture number set to `variant`."""
    return [replace(notice, picture=variant) for notice in notices]
