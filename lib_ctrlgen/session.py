"""The control session: the only place where hooks are put on a U-Net.

Inside `with ControlSession(port, units, clock):` every U-Net call is controlled;
afterwards, also after an exception, the U-Net is exactly as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType

import torch
from torch import Tensor, nn

from .attention import AttentionTerm, KeyValue
from .calls import LATENT_FACTOR, AttentionSite, CallInputs, Position, UNetCall
from .clocks import Clock
from .doses import Dose, layer_factors, row_dose, strengths
from .errors import HostError
from .images import fit, to_mask
from .plan import StepPlan, compile_plan
from .repeats import Repeats, row_classes
from .residuals import Residuals, softened, total
from .spec import ControlUnit
from .unet import Effect, Hooks, UNetPort
from .units import ActiveUnit, AttentionControl, ResidualControl

Size = tuple[int, int]
Doses = Sequence[Dose | None]


@dataclass
class StepState:
    """What the attention hooks need during one U-Net call; empty between calls."""

    terms: tuple[tuple[AttentionTerm, ...], ...] = ()
    kinds: Tensor | None = None
    size: Size = (0, 0)
    queries: dict[int, Tensor] = field(default_factory=dict)


class ControlSession:
    """Applies units to every call of a U-Net while it is open.

    `variants`, if given, are each image's own specs of all units, alike but for their numbers: a batch of
    many cells, of which rows that are equal so far are computed once. `rows_computed` of `rows_asked`
    went through the U-Net.

    Raises HostError when the host calls the U-Net in a way that cannot be controlled.
    """

    def __init__(
        self,
        port: UNetPort,
        units: Sequence[ActiveUnit],
        clock: Clock,
        variants: Sequence[Sequence[ControlUnit]] = (),
    ) -> None:
        self.port = port
        self.units = tuple(units)
        self.clock = clock
        self.variants = tuple(variants)
        self.calls = self.rows_asked = self.rows_computed = 0
        self.plan_for = lru_cache(maxsize=256)(self._plan)
        self._shape = port.shape
        self._hooks = Hooks()
        self._state = StepState()
        self._pairs: dict[int | str, tuple[KeyValue, ...]] = {}
        self._masks: dict[tuple[int | str, Size, torch.device], Tensor] = {}

    def __enter__(self) -> ControlSession:
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.close()
        self._state = StepState()
        self._pairs.clear()
        self._masks.clear()

    def retarget(self, port: UNetPort) -> None:
        """Move to another U-Net of the same shape, as when a refiner takes over in mid-run.

        Raises HostError when the new U-Net has another shape; the session is closed then.
        """
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
        specs = self._specs(variant)
        named = [(unit.index, spec) for unit, spec in zip(self.units, specs, strict=True)]
        return compile_plan(named, steps, hires=hires)

    def _install(self) -> None:
        self._hooks.close()
        if not self.units and not self.variants:
            return
        self._hooks = Hooks()
        with self._hooks as partial:
            self.port.attach(partial, self._before, self._after)
            if self._attention_units():
                for place, site in enumerate(self.port.attention_sites()):
                    self._hook_site(partial, place, site)
            self._hooks = partial.pop_all()

    def _hook_site(self, hooks: Hooks, place: int, site: AttentionSite) -> None:
        def keep_query(_module: nn.Module, _args: object, output: Tensor) -> None:
            if self._state.terms:
                self._state.queries[place] = output

        def add_terms(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not self._state.terms:
                return None
            return (self._attended(place, site.heads, args[0]), *args[1:])

        hooks.add(site.to_q.register_forward_hook(keep_query))
        hooks.add(site.to_out.register_forward_pre_hook(add_terms))

    def _before(self, inputs: CallInputs) -> Effect:
        """Start of a U-Net call: place it, set up the attention terms, compute the residuals."""
        call = UNetCall(inputs=inputs, position=self.clock(int(inputs.x.shape[0])))
        doses = self._doses(call.position)
        classes, repeats = None, None
        if self.variants:
            classes = row_classes(inputs)
            repeats = Repeats.of(list(zip(classes, call.position.rows.cond, *doses, strict=True)))
            classes = [classes[row] for row in repeats.firsts]
            doses = [tuple(each[row] for row in repeats.firsts) for each in doses]
            call = call.select(repeats.firsts)
        self.calls += 1
        self.rows_asked += int(inputs.x.shape[0])
        self.rows_computed += call.batch
        acting = [(u, each) for u, each in zip(self.units, doses, strict=True) if any(each)]
        self._set_terms(call, [(u, each) for u, each in acting if isinstance(u.control, AttentionControl)])
        parts = [
            self._residuals(u, u.control, each, call, classes)
            for u, each in acting
            if isinstance(u.control, ResidualControl)
        ]
        return Effect(total(parts) if parts else None, repeats)

    def _doses(self, position: Position) -> list[tuple[Dose | None, ...]]:
        """Of each unit, what every row of the call gets."""
        images = position.rows.image
        plans = {i: self.plan_for(position.steps, position.hires, self._variant(i)) for i in set(images)}
        return [
            tuple(
                row_dose(
                    unit,
                    self._specs(self._variant(image))[place],
                    plans[image].weights[place][position.step],
                    position,
                    row,
                )
                for row, image in enumerate(images)
            )
            for place, unit in enumerate(self.units)
        ]

    def _variant(self, image: int) -> int | None:
        """The number of the specs that an image has, None without variants."""
        if self.variants and image >= len(self.variants):
            raise HostError(f"picture {image} of a batch that was to hold {len(self.variants)}")
        return image if self.variants else None

    def _specs(self, variant: int | None) -> Sequence[ControlUnit]:
        return [unit.spec for unit in self.units] if variant is None else self.variants[variant]

    def _after(self) -> None:
        self._state = StepState()

    def _residuals(
        self,
        unit: ActiveUnit,
        control: ResidualControl,
        doses: Doses,
        call: UNetCall,
        classes: Sequence[int] | None,
    ) -> Residuals:
        """One unit's weighted residuals for the whole batch; rows of one class share a computation."""
        rows = [row for row, dose in enumerate(doses) if dose is not None]
        if classes is None:
            raw = control.residuals(call.select(rows))
        else:
            shared = Repeats.of([classes[row] for row in rows])
            raw = control.residuals(call.select([rows[i] for i in shared.firsts]))
            raw = raw.select(shared.inverse) if shared else raw
        acting = [doses[row] for row in rows]
        residuals = raw.scaled(layer_factors(acting, len(raw.layers)))
        if unit.mask is not None:
            residuals = residuals.masked(self._mask(unit, acting, call))
        residuals = residuals.to(call.inputs.x)
        return residuals if len(rows) == call.batch else residuals.scatter(rows, call.batch)

    def _attention_units(self) -> tuple[ActiveUnit, ...]:
        return tuple(unit for unit in self.units if isinstance(unit.control, AttentionControl))

    def _set_terms(self, call: UNetCall, units: Sequence[tuple[ActiveUnit, Doses]]) -> None:
        self._state = StepState()
        if not units:
            return
        per_unit = [self._unit_terms(unit, doses, call) for unit, doses in units]
        kinds = torch.tensor(call.position.rows.cond, dtype=torch.long, device=call.inputs.x.device)
        self._state = StepState(terms=tuple(zip(*per_unit, strict=True)), kinds=kinds, size=call.size)

    def _unit_terms(self, unit: ActiveUnit, doses: Doses, call: UNetCall) -> list[AttentionTerm]:
        pairs = self._pairs_of(unit, call.inputs.x)
        mask = None if unit.mask is None else self._mask(unit, doses, call)
        weights = layer_factors(doses, len(pairs))
        return [AttentionTerm(pair, weight, mask) for pair, weight in zip(pairs, weights, strict=True)]

    def _pairs_of(self, unit: ActiveUnit, x: Tensor) -> tuple[KeyValue, ...]:
        """The unit's keys and values, computed at its first active call."""
        if unit.index not in self._pairs and isinstance(unit.control, AttentionControl):
            self._pairs[unit.index] = unit.control.terms(self.port.attention_sites(), x.dtype, x.device)
        return self._pairs[unit.index]

    def _attended(self, place: int, heads: int, hidden: Tensor) -> Tensor:
        """A layer's attention output [B, N, hidden] with all units' terms added."""
        state = self._state
        query = state.queries.pop(place, None)
        if query is None or state.kinds is None:
            raise HostError(
                "the attention layer was called without its query: an unknown attention optimisation"
            )
        for term in state.terms[place]:
            if term.acts:
                output = term.output(query, state.kinds, heads, state.size)
                hidden = output.to(hidden).add_(hidden)  # in place: one large tensor less
        return hidden

    def _mask(self, unit: ActiveUnit, doses: Doses, call: UNetCall) -> Tensor:
        """The unit's mask [1 or B, 1, h, w] at the latent's size and the rows' strengths, on its device."""
        return softened(self._fitted_mask(unit, call), strengths(doses))

    def _fitted_mask(self, unit: ActiveUnit, call: UNetCall) -> Tensor:
        """The mask itself, fitted like the picture, once per size."""
        key = (unit.index, call.size, call.inputs.x.device)
        if key not in self._masks and unit.mask is not None:
            height, width = call.size
            fitted = fit(unit.mask, width * LATENT_FACTOR, height * LATENT_FACTOR, unit.spec.resize_mode)
            self._masks[key] = to_mask(fitted, height, width).to(call.inputs.x.device)
        return self._masks[key]
