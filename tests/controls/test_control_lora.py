"""ControlLoRA against an ordinary network with the weights W + up down."""

import copy
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.control_lora import borrowed_names
from lib_ctrlgen.controls.controlnet.control_lora_file import build_network, network_tensors
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.models.ldm_keys import ldm_names
from lib_ctrlgen.models.store import ModelStore, tensor_sizes
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.networks import Call, Script, TokenControl, active, random_call
from tests.support.pictures import mask_image
from tests.support.properties import examples
from tests.support.unet_calls import port_of

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
TOLERANCE = 1e-4


def sd_diffusers(seed: int = 0) -> Any:
    widths = {"block_out_channels": networks.CHANNELS, "cross_attention_dim": networks.CONTEXT}
    config = {**widths, "attention_head_dim": networks.HEADS}
    return networks.randomise(lora.files.UNet2DConditionModel(**config), seed)


def sdxl_diffusers(seed: int = 0) -> Any:
    return calls.sdxl_diffusers(seed, **lora.VECTOR_CONFIG)


UNETS: dict[str, Callable[..., Any]] = {
    "ldm": networks.ldm_unet,
    "sgm": networks.sgm_unet,
    "diffusers": sd_diffusers,
    "diffusers, SDXL": sdxl_diffusers,
}


@pytest.fixture(scope="module", params=UNETS)
def unet(request: pytest.FixtureRequest) -> Any:
    return UNETS[request.param]()


def tensors_for(unet: Any, seed: int = 1) -> dict[str, Tensor]:
    return lora.lora_tensors(lora.encoder(unet), port_of(unet).shape.residual_channels, seed)


@pytest.fixture
def folder(tmp_path: Path, unet: Any) -> Path:
    lora.save(tensors_for(unet), tmp_path / "lora.safetensors")
    return tmp_path


def control_call(unet: Any, rows: int = 2, size: tuple[int, int] = (8, 8), seed: int = 3) -> UNetCall:
    made = random_call(" ".join(f"c{i}" for i in range(rows)), seed, size)
    added: dict[str, Tensor] = {}
    if getattr(unet, "num_classes", None) is not None:
        added = {"y": made.vector}
    elif hasattr(unet, "config") and unet.config.addition_embed_type:
        sizes = torch.tensor([[1024.0, 768, 0, 8, 1024, 1024]])
        added = {"text_embeds": made.vector, "time_ids": sizes.repeat(rows, 1)}
    inputs = CallInputs(x=made.x, timestep=made.timestep, context=made.context, added=added)
    rows_of = Rows((True,) * rows, tuple(range(rows)))
    return UNetCall(inputs=inputs, position=Position(0, 4, rows_of), unet=unet)


def ldm_reference(unet: Any, weights: Mapping[str, Tensor], call: UNetCall, hint: Tensor) -> list[Tensor]:
    """The control network as ControlNet's paper has it, on a copy of the U-Net's own blocks."""
    unet = copy.deepcopy(unet)
    for name, parameter in unet.named_parameters():
        if name in weights:
            parameter.data = weights[name]
    embed = import_module("ldm.modules.diffusionmodules.util").timestep_embedding
    inputs = call.inputs
    embedding = unet.time_embed(embed(inputs.timestep, unet.model_channels))
    if "y" in inputs.added:
        embedding = embedding + unet.label_emb(inputs.added["y"])
    for place in range(8):
        kernel, bias = (weights[f"input_hint_block.{2 * place}.{part}"] for part in ("weight", "bias"))
        hint = functional.conv2d(hint, kernel, bias, stride=2 if place in (2, 4, 6) else 1, padding=1)
        hint = functional.silu(hint) if place < 7 else hint
    h, found = inputs.x, []
    for place, block in enumerate(unet.input_blocks):
        h = block(h, embedding, inputs.context)
        h = h + hint if place == 0 else h
        found.append(zero_conv(h, weights, f"zero_convs.{place}.0"))
    h = unet.middle_block(h, embedding, inputs.context)
    return [*found, zero_conv(h, weights, "middle_block_out.0")]


def zero_conv(h: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"])


def diffusers_reference(
    unet: Any, weights: Mapping[str, Tensor], call: UNetCall, hint: Tensor
) -> list[Tensor]:
    """diffusers' own ControlNet for this U-Net, with these weights."""
    network: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    names = ldm_names(weights)
    network.load_state_dict({names[key]: value for key, value in weights.items()}, strict=True)
    inputs, batch = call.inputs, call.batch
    down, mid = network.eval()(
        inputs.x,
        inputs.timestep,
        inputs.context,
        hint.expand(batch, -1, -1, -1),
        added_cond_kwargs=dict(inputs.added),
        return_dict=False,
    )
    return [*down, mid]


def expected(unet: Any, tensors: Mapping[str, Tensor], call: UNetCall, control: Any) -> list[Tensor]:
    height, width = call.size
    hint = to_hint(control.control_map(width * 8, height * 8))
    weights = lora.dense(lora.encoder(unet), tensors)
    reference = ldm_reference if hasattr(unet, "input_blocks") else diffusers_reference
    with torch.no_grad():
        return reference(unet, weights, call, hint)


def distance(found: Residuals, wanted: list[Tensor]) -> float:
    """The largest difference, relative to the layer where that is larger than 1."""
    assert [layer.shape for layer in found.layers] == [layer.shape for layer in wanted]
    assert max(layer.abs().max() for layer in wanted) > 0.05
    pairs = zip(found.layers, wanted, strict=True)
    return max(float((one - two).abs().max() / two.abs().max().clamp(min=1)) for one, two in pairs)


def control_of(folder: Path, unet: Any, **fields: Any) -> Any:
    (unit,) = lora.loaded(folder, unet, {"model": "lora", **fields})
    return unit.control


@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
def test_it_is_the_dense_network(folder: Path, unet: Any, size: tuple[int, int]) -> None:
    control, call = control_of(folder, unet), control_call(unet, 3, size)
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
        control.model.borrowed
    )
    for name, base in control.model.borrowed.items():
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
        script = [(step, random_call("c0 u0 c1 u1", step)) for step in range(3)]
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
    with pytest.raises(HostError, match="outside of a U-Net's call"):
        control_of(folder, unet).residuals(UNetCall(inputs=call.inputs, position=call.position))


def test_sdxl_without_its_vector_is_a_host_error(tmp_path: Path) -> None:
    base = networks.sgm_unet()
    lora.save(tensors_for(base), tmp_path / "lora.safetensors")
    call = control_call(base)
    bare = CallInputs(x=call.inputs.x, timestep=call.inputs.timestep, context=call.inputs.context)
    with pytest.raises(HostError, match="vector"):
        control_of(tmp_path, base).residuals(UNetCall(inputs=bare, position=call.position, unet=base))


def test_a_checkpoint_of_other_shapes_is_named(tmp_path: Path) -> None:
    """Same skips and text, another vector: what differs is said, of both."""
    base = networks.sgm_unet()
    tensors = tensors_for(base)
    tensors["label_emb.0.0.down"] = torch.zeros(lora.RANK, networks.VECTOR + 1)
    lora.save(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(
        RequestError, match=r"class_embedding.linear_1.weight has shape \(128, 21\)"
    ) as raised:
        control_of(tmp_path, base)
    assert "(128, 20)" in raised.value.message
    assert raised.value.path == "$.units[0].model"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("input_blocks.2.0.in_layers.2.down"), "input_blocks|down"),
        (
            lambda t: t.pop("input_hint_block.4.weight"),
            "incomplete.*controlnet_cond_embedding.blocks.1.weight",
        ),
        (lambda t: t.pop("zero_convs.3.0.bias"), "missing controlnet_down_blocks.3.bias"),
        (lambda t: t.update(surprise=torch.zeros(1)), "unknown surprise"),
        (
            lambda t: t.update({"surprise.up": torch.zeros(2, 1), "surprise.down": torch.zeros(1, 2)}),
            "surprise",
        ),
        (lambda t: t.update({"input_blocks.1.0.emb_layers.1.up": torch.zeros(3)}), "factors of shapes"),
        (lambda t: t.update({"middle_block_out.0.weight": torch.zeros(3, 3, 1, 1)}), "channels"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, damage: Callable[..., Any], message: str) -> None:
    base = networks.ldm_unet()
    tensors = tensors_for(base)
    damage(tensors)
    lora.save(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(RequestError, match=message):
        control_of(tmp_path, base)


@pytest.fixture(scope="module")
def small() -> tuple[Any, dict[str, Tensor]]:
    base = networks.ldm_unet()
    return base, tensors_for(base)


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_tensors_are_refused_or_load(
    small: tuple[Any, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is cut, renamed or reshaped: a request error, or a network of the right shapes."""
    base, tensors = small
    tensors = dict(tensors)
    for key in data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3, unique=True)):
        value, kind = tensors.pop(key), data.draw(st.sampled_from(["cut", "rename", "shape", "flat"]))
        if kind == "rename":
            tensors[key.replace("0", "1", 1)] = value
        elif kind == "shape":
            tensors[key] = torch.zeros(data.draw(st.lists(st.integers(0, 70), max_size=4)))
        elif kind == "flat":
            tensors[key] = value.flatten()
    folder = tmp_path_factory.mktemp("damaged")
    lora.save(tensors, folder / "lora.safetensors")
    try:
        control = control_of(folder, base)
    except RequestError:
        return
    with torch.no_grad():
        assert isinstance(control.residuals(control_call(base)), Residuals)


def test_a_truncated_file_is_refused(folder: Path, unet: Any) -> None:
    path = folder / "lora.safetensors"
    path.write_bytes(path.read_bytes()[:-999])
    with pytest.raises(RequestError, match="cannot be read"):
        control_of(folder, unet)


def test_layers_of_the_network(folder: Path, unet: Any) -> None:
    control = control_of(folder, unet)
    assert control.model.layers == len(port_of(unet).shape.residual_channels)
    kinds = {type(layer).__name__ for layer in control.model.network.modules() if not list(layer.children())}
    assert {"LowRankLinear", "LowRankConv2d"} <= kinds
    assert not any(isinstance(layer, nn.Linear) for layer in control.model.network.modules())


REAL: dict[str, dict[str, Any]] = {
    "SD1.5": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "SDXL": {
        **calls.SDXL,
        "up_block_types": calls.UP,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        **lora.VECTOR_CONFIG,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize(("family", "layers"), [("SD1.5", 13), ("SDXL", 10)])
def test_the_published_layouts_at_their_size(family: str, layers: int) -> None:
    """Names and shapes of Stability's files (rank 64), against the real checkpoint's; no memory is used."""
    with torch.device("meta"):
        base = lora.files.UNet2DConditionModel(**REAL[family])
        whole: Any = ControlNetModel.from_unet(base, load_weights_from_unet=False)
        file = {"lora_controlnet": torch.empty(0)}
        for name, value in whole.named_parameters():
            key = lora.ldm_name(name)
            if value.ndim < 2 or name.startswith("controlnet_"):
                file[key] = value
            else:
                stem, ones = key.removesuffix(".weight"), [1] * (value.ndim - 2)
                rank = min(64, *value.shape[:2])
                file[f"{stem}.up"] = torch.empty(value.shape[0], rank, *ones)
                file[f"{stem}.down"] = torch.empty(rank, *value.shape[1:])
    kind = identify({key: tuple(value.shape) for key, value in file.items()})
    assert (kind.control, kind.family.name) == ("control_lora", family)
    tensors = network_tensors(file)
    network = build_network(tensors, port_of(base).shape, "file")
    parameters = dict(network.named_parameters())
    assert all(parameters[name].shape == value.shape for name, value in tensors.items())
    lacking = {name: tuple(v.shape) for name, v in parameters.items() if name not in tensors}
    assert len(network.controlnet_down_blocks) + 1 == layers
    assert len(lacking) == sum(key.endswith(".up") for key in file)
    assert borrowed_names(lacking, base, "file").keys() == lacking.keys()
