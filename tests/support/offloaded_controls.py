"""Controls of every family whose weights are kept off the device or quantised, with a U-Net to act on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support import control_lora_reference as control_lora
from tests.support import lllite_reference as lllite
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support import union_reference as union
from tests.support.networks import Call, Script, random_call

CPU = torch.device("cpu")
ERRORS = {"fp16": 1e-3, "bf16": 1e-2, "fp8": 5e-2, "int8": 2e-2}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family: its U-Net, its files, a call, and how many transfers two units cost in a later call.

    `spread` is how much more than a form's own error a random network of the family makes of it.
    """

    unet: Callable[[], Any]
    save: Callable[[Path, Any], None]
    call: Callable[[], Call]
    transfers: int
    spread: float = 1.0


def plain_call() -> Call:
    call = random_call("c0 u0", 3)
    context = torch.randn(2, 5, files.CONTEXT, generator=torch.Generator().manual_seed(5))
    return replace(call, context=context)


def sdxl_call() -> Call:
    return random_call("c0 u0", 3)


def save_adapter(folder: Path, unet: Any) -> None:
    files.save_vision(folder / "tower")
    widths = calls.port_of(unet).shape.attention_hidden
    files.save_adapter(folder / "net.safetensors", files.plus_projection()[1], widths)


def save_style(folder: Path, unet: Any) -> None:
    width = files.STYLE_WIDTH
    files.save_vision(folder / "tower", hidden=width)
    context = files.CONTEXT if unet.__class__.__name__ == "UNet2DConditionModel" else networks.CONTEXT
    shapes = files.style_adapter_shapes(width, context, 5)
    generator = torch.Generator().manual_seed(4)
    tensors = {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}
    save_file(tensors, folder / "net.safetensors")


def saving(tensors: Callable[[Any], dict[str, Tensor]]) -> Callable[[Path, Any], None]:
    return lambda folder, unet: lora.save(tensors(unet), folder / "net.safetensors") and None


def t2i(_unet: Any) -> dict[str, Tensor]:
    return files.t2i_adapter().state_dict()  # type: ignore[no-any-return]


CASES = {
    "controlnet": Case(
        unet=files.unet,
        save=saving(lambda _: files.controlnet_tensors()),
        call=plain_call,
        transfers=1,
    ),
    "t2i_adapter": Case(unet=files.unet, save=saving(t2i), call=plain_call, transfers=0),
    "ip_adapter": Case(unet=files.unet, save=save_adapter, call=plain_call, transfers=0),
    "t2i_style": Case(unet=files.unet, save=save_style, call=plain_call, transfers=0),
    "lllite": Case(
        unet=calls.sdxl_diffusers,
        save=saving(lambda _: lora.lllite_tensors(lllite.FILES["published"], 1)),
        call=sdxl_call,
        transfers=1,
        spread=2.0,
    ),
    "control_lora": Case(
        unet=control_lora.sd_diffusers,
        save=saving(control_lora.tensors_for),
        call=sdxl_call,
        transfers=1,
    ),
    "controlnet_union": Case(
        unet=networks.sgm_unet,
        save=saving(lambda _: union.union_tensors()),
        call=lambda: union.sdxl_call("c0 u0", 3)[0],
        transfers=1,
        spread=4.0,
    ),
}


@dataclass
class World:
    """A case that is set up."""

    case: Case
    unet: Any
    store: ModelStore
    params: dict[str, Any]

    def units(self, count: int = 1, **fields: Any) -> list[ActiveUnit]:
        payload = [
            {"model": "net", "image": files.data_url(64, 64, k), "params": self.params, **fields}
            for k in range(count)
        ]
        shape = calls.port_of(self.unet).shape
        units = parse_request({"units": payload}).units
        return list(load_units(units, Target(store=self.store, shape=shape, unet=self.unet)))

    def outputs(self, units: Sequence[ActiveUnit], steps: int = 1) -> list[Tensor]:
        call = self.case.call()
        script = Script(4, [(step, call.rows) for step in range(steps)])
        with torch.no_grad(), ControlSession(calls.port_of(self.unet), units, script):
            return [calls.run(self.unet, call) for _ in range(steps)]

    @cached_property
    def plain(self) -> Tensor:
        """The output without a unit."""
        return calls.run(self.unet, self.case.call())

    @cached_property
    def change(self) -> Tensor:
        """What a unit whose weights are as in its file changes of the output."""
        return self.outputs(self.units())[0] - self.plain


def aligned(units: Sequence[ActiveUnit]) -> Sequence[ActiveUnit]:
    """The same with weights in memory of their own: a file's lie anywhere, and kernels round by that."""
    for unit in units:
        parts = vars(getattr(unit.control, "model", None) or unit.control).values()
        for part in parts:
            for parameter in part.parameters() if isinstance(part, nn.Module) else ():
                if not parameter.is_meta:
                    parameter.data = parameter.data.clone()
    return units
