"""What control costs beyond the control networks themselves.

On diffusers' U-Net with random weights, one guided step (two rows) at a time. The plain side
runs a copy of the modules that shares every weight, so neither side opens a session inside the
timing; both sides alternate. Full size is SD1.5: 860 million parameters, each ControlNet 361.

    no_active_unit    a step in a session whose units have no weight / the step alone
    controlnets_N     a step with N ControlNets / U-Net and N networks called one by one
    ip_adapter        a step with an IP-Adapter (4 tokens) / the step alone
    control_mode      all that a session does for a ControlNet on the conditional row / on both;
                      `control_mode_alone` is the network by itself on one row / on two: what
                      the machine allows, above one half where a small picture leaves it waiting
                      for the weights
    open_ms           opening and closing a session with one unit of each kind, milliseconds

`..._spread` is the distance between the quartiles of the ratios; `+-` the standard error of their median.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from _harness import Result, at_most, effort, finish, paired, parser, seconds
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.controlnet.controlnet import ControlNet
from lib_ctrlgen.controls.controlnet.prepared import PreparedControlNet
from lib_ctrlgen.controls.ip_adapter.file import AdapterLayers, AdapterWeights
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.controls.protocols import PreparedControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.offload import Resident
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Position, Rows
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

CONTEXT = 768
RESIDENT = Resident(torch.empty(0))
Step = Callable[[], object]


class Networks:
    """A U-Net, its twin with the same weights, and a ControlNet and an IP-Adapter for it."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        config = {"block_out_channels": channels, "cross_attention_dim": CONTEXT, "attention_head_dim": 8}
        self.plain = UNet2DConditionModel(**config).eval().requires_grad_(requires_grad=False)
        self.hooked = twin(self.plain)
        network: Any = ControlNetModel.from_unet(self.plain).eval().requires_grad_(requires_grad=False)
        for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            nn.init.normal_(layer.weight, std=0.02)
        encoder = network.controlnet_cond_embedding
        network.controlnet_cond_embedding = nn.Identity()
        self.control = ControlNet(
            network=network,
            hint_encoder=encoder,
            origin=("random",),
            weights=RESIDENT,
            hint_weights=RESIDENT,
        )
        self.port = DiffusersUNet(self.hooked)

    def controlnet(self) -> PreparedControlNet:
        """The ControlNet with a picture of its own."""
        unit = parse_request({"units": [{"model": "benchmark"}]}, ControlRequest).units[0]
        noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
        job = UnitInputs(unit=unit, path="$", given=Image.fromarray(noise), params={"transparent": "auto"})
        target = Target(
            store=ModelStore([], 1 << 30),
            shape=self.port.shape,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        return self.control.prepare(job, target)

    def adapter(self) -> PreparedIPAdapter:
        """A plain IP-Adapter: four tokens, keys and values for every cross attention."""
        layers = AdapterLayers([(weight(width), weight(width)) for width in self.port.shape.attention_hidden])
        weights = AdapterWeights(
            projection=None, layers=layers, weights=RESIDENT, feature="pooled", width=CONTEXT
        )
        tokens = torch.randn(2, 1, 4, CONTEXT)
        return PreparedIPAdapter(
            weights=weights, cond=tokens[0], uncond=tokens[1], seen=Image.new("RGB", (1, 1))
        )


def weight(width: int) -> Tensor:
    """A random linear layer [width, CONTEXT]."""
    return torch.randn(width, CONTEXT).div(CONTEXT**0.5)


def twin(module: nn.Module) -> Any:
    """A second module tree around the same parameters."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


class Inputs:
    """One guided step: an unconditional and a conditional row."""

    def __init__(self, size: int) -> None:
        self.x = torch.randn(2, 4, size, size)
        self.time = torch.tensor([500, 500])
        self.context = torch.randn(2, 77, CONTEXT)

    def step(self, unet: Any) -> Step:
        """A call of the U-Net."""
        return lambda: unet(self.x, self.time, self.context)

    def alone(self, prepared: PreparedControlNet, rows: int = 2) -> Step:
        """A call of the control network by itself, its hint embedded already."""
        x, now, context = self.x[:rows], self.time[:rows], self.context[:rows]
        hint = prepared.model.hint(prepared.map, (x.shape[-2], x.shape[-1]))
        return lambda: prepared.model.network(x, now, context, hint, return_dict=False)


def clock(batch: int) -> Position:
    """Always the first of two steps."""
    assert batch == 2
    return Position(0, 2, Rows((False, True), (0, 0)))


class Halt(Exception):  # noqa: N818
    """Stops a U-Net before it runs."""


@contextmanager
def halted(unet: nn.Module) -> Iterator[None]:
    """Calls of the U-Net end when the hooks that are on it now have run."""

    def halt(*_: object) -> None:
        raise Halt

    handle = unet.register_forward_pre_hook(halt)
    yield
    handle.remove()


@contextmanager
def session(unet: Any, *controls: PreparedControl, **spec: Any) -> Iterator[None]:
    """A session on a U-Net with a unit for each control."""
    unit = parse_request({"units": [{"model": "benchmark", **spec}]}, ControlRequest).units[0]
    units = [ActiveUnit(index=i, spec=unit, control=control) for i, control in enumerate(controls)]
    with ControlSession(DiffusersUNet(unet), units, clock):
        yield


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is measured, and how exactly.

    large: the latent's side where the control mode is measured; pairs: the least number of pairs
    for a figure; error: standard error, as a part of the room that a limit leaves; budget: seconds for
    one figure at most.
    """

    channels: tuple[int, ...]
    large: int
    pairs: int
    error: float
    budget: float


SMOKE = Effort(channels=(32, 64, 64, 64), large=16, pairs=1, error=100.0, budget=0.0)
QUICK = Effort(channels=(160, 320, 640, 640), large=48, pairs=7, error=0.25, budget=10.0)
THOROUGH = Effort(channels=(320, 640, 1280, 1280), large=64, pairs=7, error=0.15, budget=90.0)


class Measurements:
    """The figures so far."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self.networks = Networks(effort.channels)
        self.inputs, self.large = Inputs(16), Inputs(effort.large)
        self.figures: dict[str, float] = {}
        self.errors: dict[str, float] = {}

    def ratio(self, name: str, controlled: Step, plain: Step, room: float = 0.03) -> None:
        """Note time(controlled) / time(plain), to within a part of the room that its limit leaves."""
        effort = self.effort
        timing = paired(controlled, plain, effort.pairs, error=effort.error * room, budget=effort.budget)
        self.figures |= {name: timing.ratio, f"{name}_spread": timing.spread}
        self.errors[name] = timing.error
        print(f"{name}: {timing}, {timing.seconds_a:.3f} s against {timing.seconds_b:.3f} s", flush=True)

    def no_active_unit(self) -> None:
        """Hooks are there, nothing acts."""
        step, plain = self._steps()
        with session(self.networks.hooked, self.networks.controlnet(), self.networks.adapter(), weight=0):
            self.ratio("no_active_unit", step, plain, room=0.01)

    def controlnets(self, count: int) -> None:
        """Everything that the session adds to the networks' own time."""
        controls = [self.networks.controlnet() for _ in range(count)]
        step, plain = self._steps()
        calls = [plain, *(self.inputs.alone(control) for control in controls)]
        with session(self.networks.hooked, *controls):
            self.ratio(f"controlnets_{count}", step, lambda: [call() for call in calls])

    def ip_adapter(self) -> None:
        """Sixteen small attentions more."""
        step, plain = self._steps()
        with session(self.networks.hooked, self.networks.adapter()):
            self.ratio("ip_adapter", step, plain)

    def control_mode(self) -> None:
        """The session's own work before the U-Net runs, with and without unconditional rows."""
        control = self.networks.controlnet()
        self.ratio("control_mode_alone", self.large.alone(control, 1), self.large.alone(control))
        other = twin(self.networks.plain)
        with (
            session(self.networks.hooked, control, control_mode="control"),
            session(other, control),
            halted(self.networks.hooked),
            halted(other),
        ):
            self.ratio("control_mode", self._until_halt(self.networks.hooked), self._until_halt(other))

    def _until_halt(self, unet: Any) -> Step:
        step = self.large.step(unet)

        def run() -> None:
            with suppress(Halt):
                step()

        return run

    def opening(self) -> None:
        """What a generation pays once."""
        controls = self.networks.controlnet(), self.networks.adapter()

        def open_and_close() -> None:
            with session(self.networks.hooked, *controls):
                pass

        self.figures["open_ms"] = 1000 * statistics.median(seconds(open_and_close) for _ in range(9))

    def _steps(self) -> tuple[Step, Step]:
        return self.inputs.step(self.networks.hooked), self.inputs.step(self.networks.plain)


def main() -> int:
    """Measure, print, and say whether every limit holds."""
    options = parser("What control costs beyond the control networks themselves.").parse_args()
    start = time.perf_counter()
    found = Measurements(effort(options, smoke=SMOKE, quick=QUICK, full=THOROUGH))
    with torch.inference_mode():
        found.no_active_unit()
        for count in (1, 2, 3):
            found.controlnets(count)
        found.ip_adapter()
        found.control_mode()
        found.opening()
    found.figures["seconds"] = time.perf_counter() - start
    limits = {f"controlnets_{count}": at_most(1.03) for count in (1, 2, 3)}
    limits |= {"no_active_unit": at_most(1.01), "ip_adapter": at_most(1.03), "control_mode": at_most(0.6)}
    return finish(Result("overhead", found.figures, limits, found.errors), options)


if __name__ == "__main__":
    sys.exit(main())
