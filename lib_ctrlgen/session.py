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
from .calls import LATENT_FACTOR, AttentionSite, CallInputs, UNetCall
from .clocks import Clock
from .errors import HostError
from .images import fit, to_mask
from .plan import StepPlan, compile_plan
from .residuals import Residuals, soft_weights, softened, total
from .unet import Hooks, UNetPort
from .units import ActiveUnit, AttentionControl, ResidualControl

Size = tuple[int, int]


@dataclass
class StepState:
    """What the attention hooks need during one U-Net call; empty between calls."""

    terms: tuple[tuple[AttentionTerm, ...], ...] = ()
    kinds: Tensor | None = None
    size: Size = (0, 0)
    queries: dict[int, Tensor] = field(default_factory=dict)


class ControlSession:
    """Applies units to every call of a U-Net while it is open.

    Raises HostError when the host calls the U-Net in a way that cannot be controlled.
    """

    def __init__(self, port: UNetPort, units: Sequence[ActiveUnit], clock: Clock) -> None:
        self.port = port
        self.units = tuple(units)
        self.clock = clock
        self.calls = 0
        self.plan_for = lru_cache(maxsize=4)(self._plan)
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

    def _plan(self, steps: int, hires: bool = False) -> StepPlan:
        return compile_plan([(unit.index, unit.spec) for unit in self.units], steps, hires=hires)

    def _install(self) -> None:
        self._hooks.close()
        if not self.units:
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

    def _before(self, inputs: CallInputs) -> Residuals | None:
        """Start of a U-Net call: place it, set up the attention terms, compute the residuals."""
        self.calls += 1
        position = self.clock(int(inputs.x.shape[0]))
        call = UNetCall(inputs=inputs, position=position)
        plan = self.plan_for(position.steps, position.hires)
        active = plan.active(position.step)
        weights = [(self.units[i], plan.weights[i][position.step]) for i in active]
        self._set_terms(call, [(u, w) for u, w in weights if isinstance(u.control, AttentionControl)])
        parts = [
            self._residuals(u, u.control, w, call)
            for u, w in weights
            if isinstance(u.control, ResidualControl)
        ]
        found = [part for part in parts if part is not None]
        return total(found) if found else None

    def _after(self) -> None:
        self._state = StepState()

    def _residuals(
        self, unit: ActiveUnit, control: ResidualControl, weight: float, call: UNetCall
    ) -> Residuals | None:
        """One unit's weighted residuals for the whole batch, None where it has no rows."""
        rows = call.cond_rows() if unit.spec.control_mode == "control" else tuple(range(call.batch))
        if not rows:
            return None
        raw = control.residuals(call.select(rows))
        residuals = raw.scaled(layer_weights(unit, weight, len(raw.layers), call))
        if unit.mask is not None:
            residuals = residuals.masked(self._mask(unit, call))
        residuals = residuals.to(call.inputs.x)
        return residuals if len(rows) == call.batch else residuals.scatter(rows, call.batch)

    def _attention_units(self) -> tuple[ActiveUnit, ...]:
        return tuple(unit for unit in self.units if isinstance(unit.control, AttentionControl))

    def _set_terms(self, call: UNetCall, units: Sequence[tuple[ActiveUnit, float]]) -> None:
        self._state = StepState()
        if not units:
            return
        per_unit = [self._unit_terms(unit, weight, call) for unit, weight in units]
        kinds = torch.tensor(call.position.rows.cond, dtype=torch.long, device=call.inputs.x.device)
        self._state = StepState(terms=tuple(zip(*per_unit, strict=True)), kinds=kinds, size=call.size)

    def _unit_terms(self, unit: ActiveUnit, weight: float, call: UNetCall) -> list[AttentionTerm]:
        pairs = self._pairs_of(unit, call.inputs.x)
        mask = None if unit.mask is None else self._mask(unit, call)
        weights = layer_weights(unit, weight, len(pairs), call)
        rows = None
        if unit.concept is not None:
            mine = call.position.rows.of_concept(unit.concept)
            rows = torch.tensor(mine, dtype=torch.float32, device=call.inputs.x.device)
        return [AttentionTerm(pair, scale, mask, rows) for pair, scale in zip(pairs, weights, strict=True)]

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
            if term.weight != 0.0:
                output = term.output(query, state.kinds, heads, state.size)
                hidden = output.to(hidden).add_(hidden)  # in place: one large tensor less
        return hidden

    def _mask(self, unit: ActiveUnit, call: UNetCall) -> Tensor:
        """The unit's mask [1, 1, h, w] at the latent's size and this step's strength, on its device."""
        strength = unit.spec.mask_strength(call.position.step / call.position.steps)
        return softened(self._fitted_mask(unit, call), strength)

    def _fitted_mask(self, unit: ActiveUnit, call: UNetCall) -> Tensor:
        """The mask itself, fitted like the picture, once per size."""
        key = (unit.index, call.size, call.inputs.x.device)
        if key not in self._masks and unit.mask is not None:
            height, width = call.size
            fitted = fit(unit.mask, width * LATENT_FACTOR, height * LATENT_FACTOR, unit.spec.resize_mode)
            self._masks[key] = to_mask(fitted, height, width).to(call.inputs.x.device)
        return self._masks[key]


def layer_weights(unit: ActiveUnit, weight: float, layers: int, call: UNetCall) -> tuple[float, ...]:
    """Each layer's number: the unit's weight times its own layer weight, or times the mode's softness."""
    progress = call.position.step / call.position.steps
    if unit.spec.layer_weights is not None:
        return tuple(weight * schedule(progress) for schedule in unit.spec.layer_weights)
    if unit.spec.control_mode == "balanced":
        return (weight,) * layers
    return tuple(weight * soft for soft in soft_weights(layers))
