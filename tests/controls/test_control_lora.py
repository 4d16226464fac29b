"""ControlLoRA compared with an ordinary ControlNet that has the weights W + up down."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.models.sizes import tensor_sizes
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, UNetCall
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.control_lora_reference import (
    TOLERANCE,
    UNETS,
    control_call,
    control_of,
    distance,
    expected,
    tensors_for,
)
from tests.support.networks import Call, Script, TokenControl, active, random_call
from tests.support.pictures import mask_image
from tests.support.unet_calls import port_of

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")


@pytest.fixture(scope="module", params=UNETS)
def unet(request: pytest.FixtureRequest) -> Any:
    return UNETS[request.param]()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, unet: Any) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    lora.save(tensors_for(unet), folder / "lora.safetensors")
    return folder


def test_it_is_the_dense_network(folder: Path, unet: Any) -> None:
    control, call = control_of(folder, unet), control_call(unet, 3, (16, 8))
    with torch.no_grad():
        found = control.residuals(call)
    off = distance(found, expected(unet, tensors_for(unet), call, control))
    assert off <= TOLERANCE


def test_weights_that_the_file_leaves_out_are_the_unets(tmp_path: Path, unet: Any) -> None:
    left_out = ("input_blocks.1.0.out_layers.3.", "middle_block.1.norm.", "time_embed.0.bias")
    tensors = {key: value for key, value in tensors_for(unet).items() if not key.startswith(left_out)}
    assert len(tensors) == len(tensors_for(unet)) - 6
    lora.save(tensors, tmp_path / "lora.safetensors")
    control, call = control_of(tmp_path, unet), control_call(unet)
    with torch.no_grad():
        found = control.residuals(call)
    assert distance(found, expected(unet, tensors, call, control)) <= TOLERANCE


def test_no_weight_of_the_unet_is_held_or_changed(folder: Path, unet: Any) -> None:
    before = lora.snapshot(unet)
    control = control_of(folder, unet)
    used: dict[int, str] = {}
    with torch.no_grad(), Watch() as watch:
        control.residuals(control_call(unet))
    lora.assert_untouched(unet, before)
    network = control.model.network
    assert {name for name, value in network.named_parameters() if value.is_meta} == set(
        control.model.unet_names
    )
    for name, base in control.model.unet_names.items():
        used[unet.get_parameter(base).data_ptr()] = name
    assert used.keys() <= watch.read, "the very storage of the U-Net is what the layers read"


def test_a_unet_in_another_precision(tmp_path: Path, unet: Any) -> None:
    """As with `--no-half` off on a CPU, or weights in eight bits: converted where they are used."""
    tensors = {k: v for k, v in tensors_for(unet).items() if not k.startswith("middle_block.1.norm.")}
    lora.save(tensors, tmp_path / "lora.safetensors")
    half = copy.deepcopy(unet).to(torch.bfloat16)
    control, call = control_of(tmp_path, half), control_call(unet)
    with torch.no_grad():
        found = control.residuals(UNetCall(inputs=call.inputs, position=call.position, unet=half))
    rounded = copy.deepcopy(half).float()
    wanted = expected(rounded, tensors, control_call(rounded), control)
    assert distance(found, wanted) <= TOLERANCE


class Watch(TorchDispatchMode):
    """Notes which storages operations read, and the shapes of what they make."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()
        self.made: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read |= {value.data_ptr() for value in args if isinstance(value, Tensor)}
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and "view" not in str(func) and not func.is_view:
            self.made.append((str(func), tuple(result.shape)))
        return result


def test_the_product_is_never_formed(folder: Path, unet: Any) -> None:
    """Nothing that is made in a call has a weight's shape, at a size at which no activation has one."""
    control = control_of(folder, unet)
    shapes = {tuple(value.shape) for value in lora.encoder(unet).values() if value.ndim > 1}
    call = control_call(unet, 7, (24, 8))
    control.model.hint(control.map, (24, 8))
    with torch.no_grad(), Watch() as watch:
        control.residuals(call)
    assert len(watch.made) > 300
    assert not [made for made in watch.made if made[1] in shapes]
    own = {name: value for name, value in control.model.network.named_parameters() if not value.is_meta}
    factors = [value for name, value in own.items() if name.endswith((".up", ".down"))]
    assert len(factors) > 100
    assert sum(tensor_sizes(own).values()) < 0.5 * sum(v.numel() * 4 for v in lora.encoder(unet).values())


def test_it_follows_the_unet_that_is_called(folder: Path, unet: Any) -> None:
    control, call = control_of(folder, unet), control_call(unet)
    other = copy.deepcopy(unet)
    networks.randomise(other, 9)
    moved = UNetCall(inputs=call.inputs, position=call.position, unet=other)
    with torch.no_grad():
        first, second = control.residuals(call), control.residuals(moved)
        with_lora = copy.deepcopy(unet)
        for parameter in with_lora.parameters():  # as the WebUI merges a LoRA: in place
            parameter.add_(0.01)
        third = control.residuals(UNetCall(inputs=call.inputs, position=call.position, unet=with_lora))
    for base, found in ((unet, first), (other, second), (with_lora, third)):
        called = UNetCall(inputs=call.inputs, position=call.position, unet=base)
        assert distance(found, expected(base, tensors_for(unet), called, control)) <= TOLERANCE


def test_one_file_for_two_checkpoints_is_read_once(folder: Path, unet: Any) -> None:
    store, other = ModelStore([folder], 1 << 30), copy.deepcopy(unet)
    units = lora.parse_request({"units": [{"model": "lora", "image": lora.files.data_url()}]}).units
    shape = port_of(unet).shape
    found = [
        lora.load_units(units, Target(store=store, shape=shape, unet=base))[0].control
        for base in (unet, other, unet)
    ]
    assert store.reads == 2, "a header and a network"
    assert len({id(control.model.network) for control in found}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["ldm", "sgm", "diffusers"])
def test_in_a_session(tmp_path: Path, name: str) -> None:
    """Schedules, modes, masks, rows and other units: as with the dense network."""
    base = UNETS[name]()
    lora.save(tensors_for(base), tmp_path / "lora.safetensors")
    fields: dict[str, Any] = {"model": "lora", "weight": "0.9>0.3", "control_mode": "control"}
    (unit,) = lora.loaded(tmp_path, base, fields)
    control: Any = unit.control
    twin = copy.deepcopy(base)

    class Dense:
        def residuals(self, call: UNetCall) -> Residuals:
            *down, mid = expected(twin, tensors_for(twin), call, control)
            return Residuals(tuple(down), mid)

        def control_map(self, width: int, height: int) -> Any:
            raise NotImplementedError

    before, plain = lora.snapshot(base), calls.run(base, random_call("c0 u0 c1 u1", 4))
    tokens = active(TokenControl(2), 5, mask_image(3))
    outputs = []
    for each in (unit.control, Dense()):
        own = active(each, 0, mask_image(1), **fields)
        script = [(step, random_call("c0 u0 c1 u1", step)) for step in range(2)]
        outputs.append(in_session(base, [own, tokens], script))
    off = max(float((one - two).abs().max()) for one, two in zip(*outputs, strict=True))
    assert off <= TOLERANCE
    lora.assert_untouched(base, before)
    assert torch.equal(calls.run(base, random_call("c0 u0 c1 u1", 4)), plain)


def in_session(base: Any, units: list[Any], script: list[tuple[int, Call]]) -> list[Tensor]:
    clock = Script(len(script), [(step, call.rows) for step, call in script])
    with ControlSession(port_of(base), units, clock):
        return [calls.run(base, call) for _, call in script]


def test_without_a_unet_it_says_so(folder: Path, unet: Any) -> None:
    with pytest.raises(RequestError, match="none is loaded"):
        lora.load_units(
            lora.parse_request({"units": [{"model": "lora", "image": lora.files.data_url()}]}).units,
            Target(store=ModelStore([folder], 1 << 30), shape=port_of(unet).shape),
        )
    call = control_call(unet)
    with pytest.raises(HostError, match="only during a call of a U-Net"):
        control_of(folder, unet).residuals(UNetCall(inputs=call.inputs, position=call.position))


def test_sdxl_without_its_vector_is_a_host_error(tmp_path: Path) -> None:
    base = networks.sgm_unet()
    lora.save(tensors_for(base), tmp_path / "lora.safetensors")
    call = control_call(base)
    bare = CallInputs(x=call.inputs.x, timestep=call.inputs.timestep, context=call.inputs.context)
    with pytest.raises(HostError, match="vector"):
        control_of(tmp_path, base).residuals(UNetCall(inputs=bare, position=call.position, unet=base))


def test_a_truncated_file_is_refused(folder: Path, tmp_path: Path, unet: Any) -> None:
    whole = (folder / "lora.safetensors").read_bytes()
    (tmp_path / "lora.safetensors").write_bytes(whole[:-999])
    with pytest.raises(RequestError, match="cannot be read"):
        control_of(tmp_path, unet)


def test_layers_of_the_network(folder: Path, unet: Any) -> None:
    control = control_of(folder, unet)
    assert control.model.layers == len(port_of(unet).shape.residual_channels)
    kinds = {type(layer).__name__ for layer in control.model.network.modules() if not list(layer.children())}
    assert {"LowRankLinear", "LowRankConv2d"} <= kinds
    assert not any(isinstance(layer, nn.Linear) for layer in control.model.network.modules())
