"""InstantID's two halves together: in one unit, and as the two units that other programs have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet import instant_id
from lib_ctrlgen.controls.controlnet.instant_id import AttendingInstantID, PreparedInstantID
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit, sees_picture
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support import networks
from tests.support.networks import Call, Script, call_of, random_call
from tests.support.unet_calls import port_of, relative_error, run

pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
CONTEXT = files.CONTEXT
FACE, OTHER = (tuple(torch.randn(WIDTH, generator=torch.Generator().manual_seed(k)).tolist()) for k in (1, 2))
NET, ADAPTER, ALONE = "control_instant_id_sdxl", "ip-adapter_instant_id_sdxl", {"adapter_weight": 0}


class Host:
    def __init__(self, folder: Path) -> None:
        self.unet: Any = networks.sgm_unet(context=CONTEXT)
        self.port = port_of(self.unet)
        network = networks.sdxl_controlnet(5, cross_attention_dim=CONTEXT)
        adapters.write(folder / f"{NET}.safetensors", dict(network.state_dict()))
        shapes = adapters.whole("instant_id", CONTEXT, self.port.shape.attention_hidden)
        adapters.write(folder / f"{ADAPTER}.bin", adapters.random_tensors(shapes))
        self.store = ModelStore([folder], 1 << 30)

    def units(self, *bodies: dict[str, Any]) -> tuple[ActiveUnit, ...]:
        target = Target(store=self.store, shape=self.port.shape, unet=self.unet)
        return load_units(parse_request({"units": list(bodies)}).units, target)

    def predicted(self, call: Call, *bodies: dict[str, Any]) -> Tensor:
        with ControlSession(self.port, self.units(*bodies), Script(1, [(0, call.rows)])):
            return run(self.unet, call)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("instant_id"))


@pytest.fixture(scope="module")
def call() -> Call:
    made = random_call("c0 c1 u0 u1", 3)
    words = torch.randn(4, 7, CONTEXT, generator=torch.Generator().manual_seed(4))
    return call_of(made.x, made.timestep, words, made.vector, made.rows)


def net(face: tuple[float, ...] | None = FACE, **fields: Any) -> dict[str, Any]:
    params = {} if face is None else {"face": encoded([face])}
    return {
        "model": NET,
        "image": files.data_url(seed=3),
        **fields,
        "params": {**params, **fields.get("params", {})},
    }


def adapter(face: tuple[float, ...] = FACE, **fields: Any) -> dict[str, Any]:
    return {"model": ADAPTER, "params": {"face": encoded([face])}, **fields}


def test_one_unit_is_the_controlnet_and_the_adapter(host: Host, call: Call) -> None:
    (unit,) = host.units(net())
    assert isinstance(unit.control, AttendingInstantID)
    assert not sees_picture(unit.control), "its map is shown"
    together = host.predicted(call, net(weight=0.5, params={"adapter_weight": 0.6}))
    apart = host.predicted(call, net(weight=0.5, params=ALONE), adapter(weight=0.3))
    assert relative_error(together, apart) <= 1e-5
    alone = host.predicted(call, net(weight=0.5, params=ALONE))
    assert relative_error(together, alone) > 1e-3


def test_layer_weights_and_mode_are_those_of_the_controlnet(host: Host, call: Call) -> None:
    layers = [1.0] * len(host.port.shape.residual_channels)
    even = host.predicted(call, net(layer_weights=layers))
    assert relative_error(even, host.predicted(call, net())) <= 1e-5
    soft = host.predicted(call, net(control_mode="prompt"))
    apart = host.predicted(call, net(control_mode="prompt", params=ALONE), adapter(weight=0.8))
    assert relative_error(soft, apart) <= 1e-5


def test_the_unit_behind_the_adapters_reads_its_face(
    host: Host, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    own = instant_id.face_attention
    monkeypatch.setattr(instant_id, "face_attention", lambda *args: read.append(args) or own(*args))
    first, second = host.units(adapter(), net(None))
    assert not read, "the face is encoded once"
    assert type(second.control) is PreparedInstantID, "the attention is the other unit's"
    tokens = torch.cat((first.control.whole.uncond, first.control.whole.cond))  # type: ignore[union-attr]
    assert torch.equal(second.control.tokens, tokens)
    two = host.predicted(call, adapter(weight=0.8), net(None))
    assert relative_error(two, host.predicted(call, net())) <= 1e-5


def test_a_face_of_its_own_comes_before_the_other_units(host: Host) -> None:
    _, other = host.units(adapter(), net(OTHER))
    (alone,) = host.units(net(OTHER, params=ALONE))
    assert type(other.control) is PreparedInstantID
    assert torch.equal(other.control.tokens, alone.control.tokens)  # type: ignore[union-attr]


def test_an_adapter_that_does_not_fit_is_named(host: Host, tmp_path: Path) -> None:
    bare = Host(tmp_path)
    adapters.write(
        tmp_path / f"{ADAPTER}.bin", adapters.random_tensors(adapters.whole("instant_id", CONTEXT, (32,)))
    )
    with pytest.raises(RequestError, match="has 1 attention layers") as raised:
        bare.units(net())
    assert raised.value.path == "$.units[0].params.face_adapter"
    assert isinstance(bare.units(net(params=ALONE))[0].control, PreparedInstantID)
