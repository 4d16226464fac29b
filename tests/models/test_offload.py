"""Offloaded and quantised weights: their transfers, their numerical error, and their memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.difference import base_mark
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.unit_fields import panel_values, read_request, unit_fields
from lib_ctrlgen.models import offload as parking
from lib_ctrlgen.models.offload import Offloaded, placed
from lib_ctrlgen.models.storage import FORMS, Placement, spread
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support import union_reference as union
from tests.support.offloaded_controls import CASES, CPU, ERRORS, World, aligned


@pytest.fixture(scope="module", params=CASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    if request.param == "controlnet_union":
        pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    case, folder = CASES[request.param], tmp_path_factory.mktemp("models")
    unet = case.unet()
    case.save(folder, unet)
    params = {"union_type": "depth"} if request.param == "controlnet_union" else {}
    return World(case, unet, ModelStore([folder], 1 << 30), params)


def test_away_it_is_the_same_to_the_bit_and_moved_once_a_use(world: World, moves: list[int]) -> None:
    """Two units of one file, two calls: what is prepared once for a picture is not moved again."""
    before = lora.snapshot(world.unet)
    wanted = world.outputs(aligned(world.units(2)), 2)
    assert moves == []
    world.store.clear()  # what was made of the pictures is the same, and would be taken
    units = world.units(2, low_vram=True)
    first = world.outputs(units)
    assert moves
    moves.clear()
    found = world.outputs(units, 2)
    assert len(moves) == 2 * world.case.transfers
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(first[0], wanted[0])
    assert float((wanted[0] - world.plain).abs().max()) > 1e-3
    lora.assert_untouched(world.unet, before)


@pytest.mark.parametrize("storage", ERRORS)
def test_a_form_keeps_its_own_error(world: World, moves: list[int], storage: str) -> None:
    wanted = world.change
    found = world.outputs(world.units(storage=storage))[0] - world.plain
    error = float((found - wanted).norm() / wanted.norm())
    assert 0 < error <= world.case.spread * ERRORS[storage]
    assert all(count <= 4 for count in moves)  # dtypes of a network: weights, norms, whole numbers, scales
    if storage == "int8" or world.case is CASES["controlnet"]:  # every family, and every form
        same = world.outputs(world.units(storage=storage, low_vram=True))[0] - world.plain
        assert torch.equal(same, found)


def test_between_uses_there_is_the_stored_form_alone(tmp_path: Path) -> None:
    unet = files.unet()
    save_file(files.controlnet_tensors(), tmp_path / "net.safetensors")

    def used(store: ModelStore, **fields: Any) -> int:
        before = store.used_bytes
        world = World(CASES["controlnet"], unet, store, {})
        (unit,) = world.units(**fields)
        size = store.used_bytes - before
        world.outputs([unit])
        control: Any = unit.control
        parked = fields.get("low_vram") or "storage" in fields
        modules = (control.model.network, control.model.hint_encoder)
        assert {p.is_meta for module in modules for p in module.parameters()} == {bool(parked)}
        return size

    store = ModelStore([tmp_path], 1 << 30)
    whole = used(store)
    sizes = {storage: used(store, storage=storage) / whole for storage in ERRORS}
    assert store.reads == 2 + len(ERRORS)  # the header, and each form by itself
    assert sizes["fp16"] == sizes["bf16"] == pytest.approx(0.5, abs=0.03)
    assert sizes["fp8"] == sizes["int8"] == pytest.approx(0.25, abs=0.05)
    assert used(ModelStore([tmp_path], 1 << 30), low_vram=True) == pytest.approx(whole, rel=0.03)


def test_int8_is_torchs_own_and_fp8_beats_a_plain_cast() -> None:
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.005
    weight[2] = 0
    kept, scale = FORMS["int8"](weight)
    assert scale is not None
    theirs = torch.quantize_per_channel(weight, scale.double(), torch.zeros(6), 0, torch.qint8).int_repr()
    assert torch.equal(kept, theirs)
    kept, scale = FORMS["fp8"](weight)
    assert scale is not None
    found = kept.float() * spread(scale, kept.float())
    cast = weight.to(torch.float8_e4m3fn).float()
    assert (found - weight).norm() < 0.3 * (cast - weight).norm()
    assert (found - weight).norm() <= 0.03 * weight.norm()


def test_numbers_that_a_form_cannot_hold() -> None:
    layer = nn.Linear(4, 4)
    layer.weight.data[1, 2] = 1e6
    placement = Placement(device=CPU, dtype=torch.float32, storage="fp16")
    with pytest.raises(ModelError, match="'big' has weights that are too large for fp16"):
        placed([layer], placement, "big")


def test_uses_inside_a_use_share_and_an_error_drops(moves: list[int]) -> None:
    layer = nn.Linear(4, 4)
    x, wanted = torch.ones(1, 4), layer(torch.ones(1, 4))
    weights = placed([layer], Placement(device=CPU, dtype=torch.float32, away=True), "one")
    assert isinstance(weights, Offloaded)
    with weights.present(), weights.present():
        assert torch.equal(layer(x), wanted)
    assert len(moves) == 1
    with pytest.raises(ZeroDivisionError), weights.present():
        raise ZeroDivisionError
    assert layer.weight.is_meta
    assert layer.bias.is_meta
    with weights.present():
        assert not layer.weight.is_meta
    assert len(moves) == 3


def test_the_host_says_it_and_a_unit_overrules(tmp_path: Path) -> None:
    unet = files.unet()
    save_file(files.controlnet_tensors(), tmp_path / "net.safetensors")
    store, shape = ModelStore([tmp_path], 1 << 30), calls.port_of(unet).shape
    for said, host, parked in (
        (None, True, True),
        (False, True, False),
        (True, False, True),
        (None, False, False),
    ):
        unit = {"model": "net", "image": files.data_url(), "low_vram": said}
        units = parse_request({"units": [unit]}).units
        (loaded,) = load_units(units, Target(store=store, shape=shape, away=host))
        control: Any = loaded.control
        assert isinstance(control.model.weights, Offloaded) == parked


class BlockByBlock:
    """A U-Net as --lowvram has it: its blocks are elsewhere until each is called, then again.

    Elsewhere is another dtype here, that holds the same numbers: what converts to a tensor's dtype
    converts to its device in the same call.
    """

    def __init__(self, unet: Any) -> None:
        self.here: nn.Module | None = None
        blocks = [unet.time_embed, *unet.input_blocks, unet.middle_block, *unet.output_blocks]
        self.handles = [block.register_forward_pre_hook(self.come) for block in blocks]
        for block in blocks:
            block.to(torch.float64)

    def come(self, module: nn.Module, _args: object) -> None:
        if module is not self.here:
            if self.here is not None:
                self.here.to(torch.float64)
            self.here = module.to(torch.float32)


@pytest.mark.parametrize("name", ["control_lora", "lllite", "t2i_style"])
def test_a_unet_that_comes_block_by_block(tmp_path: Path, name: str) -> None:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    unet, other = networks.sgm_unet(), networks.sgm_unet()
    CASES[name].save(tmp_path, unet)
    made = []
    for each in (unet, other):
        if each is other:
            BlockByBlock(other)
        case = replace(CASES[name], call=lambda: union.sdxl_call("c0 u0", 3)[0])
        world = World(case, each, ModelStore([tmp_path], 1 << 30), {})
        made.append(world.outputs(world.units(low_vram=True), 2)[1])
    assert float((made[0] - world.plain).abs().max()) > 1e-3
    assert float((made[1] - made[0]).abs().max()) <= 1e-5


def test_a_base_on_several_devices_has_its_mark() -> None:
    unet = networks.ldm_unet()
    mark = base_mark(unet)
    unet.input_blocks[1].to(torch.float64)
    assert base_mark(unet) == mark


@pytest.mark.parametrize("fields", [{"storage": "int4"}, {"low_vram": "yes"}])
def test_words_that_are_none(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(RequestError) as caught:
        parse_request({"units": [{"model": "a", **fields}]})
    assert caught.value.path == f"$.units[0].{name}"


@pytest.mark.parametrize(("shown", "said"), [("auto", None), ("on", True), ("off", False)])
def test_the_panel_says_it_too(shown: str, said: bool | None) -> None:
    own = {"enabled": True, "model": "edges", "image": files.picture(), "low_vram": shown, "storage": "fp8"}
    (unit,) = read_request(["", "", "", "", *blend_values(None), *(unit_fields() | own).values()]).units
    assert (unit.low_vram, unit.storage) == (said, "fp8")
    back = panel_values({"model": "edges", "storage": "fp8", **({} if said is None else {"low_vram": said})})
    assert (back["low_vram"], back["storage"]) == (shown, "fp8")


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of tensors of every transfer."""
    found: list[int] = []
    original = parking.transfer

    def transfer(flats: Sequence[Tensor], device: torch.device) -> list[Tensor]:
        found.append(len(flats))
        return original(flats, device)

    monkeypatch.setattr(parking, "transfer", transfer)
    return found
