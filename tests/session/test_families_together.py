"""Eight units of different control families on one U-Net, in one session or in eight nested ones."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_families as families
from tests.support import control_files as files
from tests.support import networks
from tests.support.lora_files import snapshot
from tests.support.networks import Call, Script, random_call
from tests.support.unet_calls import port_of, run, sd_diffusers, sdxl_diffusers
from tests.support.unet_hosts import structure

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")

TOLERANCE = 1e-4
UNION = {"params": {"union_type": "canny"}}


Host = tuple[Callable[[], Any], Callable[[], Any], dict[str, families.Make], list[str]]
HOSTS: dict[str, Host] = {
    "ldm": (
        networks.ldm_unet,
        sd_diffusers,
        families.SD15,
        ["ldm", "t2i-full", "lora", "t2i-light", "t2i-style", "shuffle", "difference", "ldm"],
    ),
    "sgm": (
        networks.sgm_unet,
        sdxl_diffusers,
        families.SDXL,
        ["xl-ldm", "xl-union", "xl-lllite", "xl-lora", "xl-t2i", "xl-union", "xl-lllite", "xl-diffusers"],
    ),
}


@pytest.fixture(scope="module", params=HOSTS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A U-Net, and eight units for it with different pictures, weights, windows and modes."""
    made, twin, makes, kinds = HOSTS[request.param]
    unet, folder = made(), tmp_path_factory.mktemp(request.param)
    base = families.Base(twin())
    for kind in set(kinds):
        tensors = {key: value.contiguous() for key, value in makes[kind](base).items()}
        save_file(tensors, folder / f"{kind}.safetensors")
    files.save_vision(folder / "vision", hidden=128)
    specs = [spec_of(kind, place) for place, kind in enumerate(kinds)]
    units = parse_request({"units": specs}).units
    return unet, load_units(
        units, Target(store=ModelStore([folder], 1 << 30), shape=port_of(unet).shape, unet=unet)
    )


def spec_of(kind: str, place: int) -> dict[str, Any]:
    mode = {} if kind == "t2i-style" else {"control_mode": ("balanced", "prompt", "control")[place % 3]}
    own = {"weight": f"{0.2 + 0.1 * place:.1f}>0.1", **mode, **(UNION if "union" in kind else {})}
    mask = {"mask": files.data_url(seed=20 + place)} if place % 2 and kind != "t2i-style" else {}
    return {"model": kind, "image": files.data_url(seed=place), **own, **mask}


def sessions(stack: Any, units: list[ActiveUnit], call: Call, calls: int) -> ControlSession:
    unet, _ = stack
    return ControlSession(port_of(unet), units, Script(4, [(1, call.rows)] * calls))


@pytest.fixture(scope="module")
def start(stack: Any) -> tuple[Any, Any, Call, Tensor]:
    """The U-Net's structure and weights, a call and its plain outcome, before the first test."""
    unet, _ = stack
    call = random_call("c0 u0", 6)
    return structure(unet), snapshot(unet), call, run(unet, call)


@pytest.fixture
def untouched(stack: Any, start: tuple[Any, Any, Call, Tensor]) -> Iterator[tuple[Any, Call, Tensor]]:
    """The U-Net, a call and its plain outcome; afterwards the U-Net must be what it was."""
    unet, _ = stack
    before, weights, call, plain = start
    yield unet, call, plain
    assert structure(unet) == before
    now = snapshot(unet)
    assert all(
        now[name][:2] == held[:2] and torch.equal(now[name][2], held[2]) for name, held in weights.items()
    )
    assert torch.equal(run(unet, call), plain)


def test_one_session_is_eight_sessions(stack: Any, untouched: tuple[Any, Call, Tensor]) -> None:
    unet, call, plain = untouched
    with sessions(stack, stack[1], call, 1):
        together = run(unet, call)
    with ExitStack() as each:
        for unit in stack[1]:
            each.enter_context(sessions(stack, [unit], call, 1))
        apart = run(unet, call)
    assert float((together - plain).abs().max()) > 1e-2
    assert float((together - apart).abs().max() / together.abs().max()) <= TOLERANCE


@pytest.mark.parametrize("seed", range(2))
def test_they_end_in_any_order(stack: Any, untouched: tuple[Any, Call, Tensor], seed: int) -> None:
    unet, call, plain = untouched
    order = random.Random(seed)
    opened = [sessions(stack, [unit], call, 16) for unit in stack[1]]
    for session in opened:
        session.__enter__()
    order.shuffle(opened)
    alone = ()
    for session in opened:
        assert not torch.equal(run(unet, call), plain)
        session.__exit__(None, None, None)
        alone = session.units
    assert len(alone) == 1
    assert torch.equal(run(unet, call), plain)


def test_the_last_of_them_acts_as_if_it_were_alone(stack: Any, untouched: tuple[Any, Call, Tensor]) -> None:
    unet, call, _ = untouched
    for unit in stack[1]:
        with sessions(stack, [unit], call, 1):
            wanted = run(unet, call)
        opened = [sessions(stack, [other], call, 4) for other in stack[1] if other is not unit]
        last = sessions(stack, [unit], call, 4)
        for session in (*opened[:3], last, *opened[3:]):
            session.__enter__()
        run(unet, call)
        for session in opened:
            session.__exit__(None, None, None)
        assert torch.equal(run(unet, call), wanted)
        last.__exit__(None, None, None)


def test_a_failure_in_the_middle_restores(stack: Any, untouched: tuple[Any, Call, Tensor]) -> None:
    unet, call, _ = untouched
    middle = unet.middle_block
    handle = middle.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), sessions(stack, stack[1], call, 1):
        run(unet, call)
    handle.remove()
