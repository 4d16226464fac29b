"""FaceID's LoRA acts exactly once, through hooks, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.effects.attention_lora import LowRank
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.attention_parts import attention_parts
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support import networks
from tests.support.lora_files import assert_untouched, snapshot
from tests.support.networks import Call, Script, call_of, random_call
from tests.support.unet_calls import port_of, run
from tests.support.unet_hosts import structure

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
CONTEXT = files.CONTEXT
FACES = [tuple(torch.randn(WIDTH, generator=torch.Generator().manual_seed(k)).tolist()) for k in (1, 2)]
HOSTS = {
    "ldm": lambda: networks.ldm_unet(context=CONTEXT),
    "sgm": lambda: networks.sgm_unet(context=CONTEXT),
    "diffusers": lambda: networks.randomise(files.unet(), 0),
}


class Host:
    """A U-Net, and a FaceID file for it with and without its LoRA."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.unet: Any = HOSTS[kind]()
        self.port = port_of(self.unet)
        widths = self.port.shape.attention_hidden
        self.tensors = adapters.random_tensors(adapters.whole("faceid", CONTEXT, widths, rank=3))
        adapters.write(folder / "faceid.safetensors", self.tensors)
        bare = {key: value for key, value in self.tensors.items() if "_lora." not in key}
        adapters.write(folder / "bare.safetensors", bare)
        self.store = ModelStore([folder], 1 << 30)

    def units(self, *fields: dict[str, Any]) -> tuple[ActiveUnit, ...]:
        bodies = [{"model": "faceid", "params": face(0), **each} for each in fields]
        target = Target(store=self.store, shape=self.port.shape, unet=self.unet)
        return load_units(parse_request({"units": bodies}).units, target)

    def predicted(self, call: Call, *fields: dict[str, Any], step: int = 0) -> Tensor:
        with ControlSession(self.port, self.units(*fields), Script(4, [(step, call.rows)])):
            return run(self.unet, call)

    def merged(self, call: Call, weight: float, *fields: dict[str, Any]) -> Tensor:
        """The same with the LoRA added to the U-Net's weights."""
        before = {part.place: part.module.weight.clone() for part in attention_parts(self.unet)}
        with torch.no_grad():
            for part in attention_parts(self.unet):
                name = f"ip_adapter.{part.number}.to_{part.part}_lora"
                down, up = (self.tensors[f"{name}.{half}.weight"] for half in ("down", "up"))
                part.module.weight += weight * (up @ down).reshape(part.module.weight.shape)
            found = self.predicted(call, *fields)
            for part in attention_parts(self.unet):
                part.module.weight.copy_(before[part.place])
        return found


def face(number: int, **more: Any) -> dict[str, Any]:
    return {"face": encoded([FACES[number]]), **more}


@pytest.fixture(scope="module", params=list(HOSTS))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def call() -> Call:
    made = random_call("c0 c1 u0 u1", 3)
    words = torch.randn(4, 7, CONTEXT, generator=torch.Generator().manual_seed(4))
    return call_of(made.x, made.timestep, words, made.vector, made.rows)


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


BARE = {"model": "bare"}


@pytest.mark.parametrize("weight", [1.0, -0.5])
def test_it_acts_as_if_added_to_the_weights(host: Host, call: Call, weight: float) -> None:
    with_lora = {"params": face(0, lora_weight=weight), "weight": 0.6}
    bare = {**BARE, "weight": 0.6}
    found, without = host.predicted(call, with_lora), host.predicted(call, bare)
    assert far(found, host.merged(call, weight, bare)) <= 1e-5
    assert far(found, without) > 1e-3
    off = host.predicted(call, {"params": face(0, lora_weight=0), "weight": 0.6})
    assert far(off, without) <= 1e-5, "two files of one network"


def test_two_faces_of_one_file_apply_it_once(host: Host, call: Call) -> None:
    found = host.predicted(
        call,
        {"params": face(0, lora_weight=0.4), "weight": 0.5},
        {"params": face(1, lora_weight=0.7), "weight": 0.3},
    )
    bare = [{**BARE, "weight": 0.5}, {**BARE, "params": face(1), "weight": 0.3}]
    assert far(found, host.merged(call, 0.7, *bare)) <= 1e-5


def test_nothing_is_left_behind(host: Host, call: Call) -> None:
    before, weights, plain = structure(host.unet), snapshot(host.unet), run(host.unet, call)
    host.predicted(call, {}, {"params": face(1)}, {**BARE})
    assert structure(host.unet) == before
    assert_untouched(host.unet, weights)
    assert torch.equal(run(host.unet, call), plain)
    late = {"guidance_start": 0.5}
    assert torch.equal(host.predicted(call, late, step=1), plain), "outside of its window"
    assert far(host.predicted(call, late, step=2), host.predicted(call, {})) <= 1e-6


def test_it_acts_on_the_rows_of_its_unit_alone(host: Host, call: Call) -> None:
    images = [files.data_url(seed=1), files.data_url(seed=2)]
    units = host.units({"image": images[0]})
    (only,) = units
    own = ActiveUnit(index=0, spec=only.spec, control=only.control, pictures=(1,))
    with ControlSession(host.port, [own], Script(4, [(0, call.rows)])):
        found = run(host.unet, call)
    plain, everywhere = run(host.unet, call), host.predicted(call, {})
    assert far(found[[0, 2]], plain[[0, 2]]) <= 1e-6
    assert far(found[[1, 3]], everywhere[[1, 3]]) <= 1e-5
    assert far(found[[1, 3]], plain[[1, 3]]) > 1e-3


def test_rows_that_hypertile_has_cut_keep_their_weights() -> None:
    x, down, up = torch.randn(3, 8, 4), torch.randn(2, 4), torch.randn(6, 2)
    output, change = torch.randn(3, 8, 6), LowRank(down, up, (0.5, 0.0, 2.0))
    whole = change.added(output, x)
    wanted = output + torch.tensor([0.5, 0.0, 2.0])[:, None, None] * (x @ down.T @ up.T)
    torch.testing.assert_close(whole, wanted)
    assert torch.equal(whole[1], output[1])
    cut = change.added(output.reshape(12, 2, 6), x.reshape(12, 2, 4))
    torch.testing.assert_close(cut.reshape(3, 8, 6), whole)
    with pytest.raises(HostError, match="4 rows in a call of 3"):
        change.added(output.reshape(4, 6, 6), x.reshape(4, 6, 4))
