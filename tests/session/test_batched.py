"""Units that share a network are computed in one call, with the same result as with separate networks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import Call, Script, TokenControl, active, random_call
from tests.support.pictures import mask_image
from tests.support.unet_calls import batch_of, counted, port_of, relative_error, run

TOLERANCE = 1e-4  # other vector units round otherwise: 3e-5 was seen
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for seed, name in ((1, "net"), (2, "other"), (3, "net_shuffle")):
        save_file(networks.controlnet(seed).state_dict(), root / f"{name}.safetensors")
    return root


def units_of(folder: Path, unet: Any, *items: dict[str, Any]) -> list[ActiveUnit]:
    """The units of a request, whose networks are shared."""
    payloads = [
        {"model": "net", "image": files.data_url(64, 64, 3 + k), **item} for k, item in enumerate(items)
    ]
    units = parse_request({"units": payloads}).units
    return list(load_units(units, Target(store=ModelStore([folder], 1 << 30), shape=port_of(unet).shape)))


def apart(folder: Path, unet: Any, units: Sequence[ActiveUnit]) -> list[ActiveUnit]:
    """The same, each with a network of its own."""
    shape = port_of(unet).shape
    stores = [ModelStore([folder], 1 << 30) for _ in units]
    loaded = [
        load_units([each.spec], Target(store=store, shape=shape))[0]
        for each, store in zip(units, stores, strict=True)
    ]
    return [replace(own, index=each.index) for own, each in zip(loaded, units, strict=True)]


def controlled(
    unet: Any, units: Sequence[ActiveUnit], call: Call, step: int, variants: Sequence[Any] = ()
) -> Tensor:
    script = Script(STEPS, [(step, call.rows)])
    with torch.no_grad(), ControlSession(port_of(unet), units, script, variants):
        return run(unet, call)


STACKS: dict[str, tuple[list[dict[str, Any]], list[list[int]]]] = {
    # the units, and the rows of every network call of four steps on two conditional and two other rows
    "two": ([{"weight": 0.5}, {"weight": 0.7}], [[8]] * 4),
    "three, one in a window, one on conditional rows": (
        [{"weight": "1>0"}, {"guidance_end": 0.5}, {"control_mode": "control"}],
        [[10], [10], [6], [6]],
    ),
    "masks and layers": (
        [
            {"mask": encode_image(mask_image(1)), "mask_strength": 0.7},
            {"layer_weights": [k / 12 for k in range(13)]},
        ],
        [[8]] * 4,
    ),
    "two networks": ([{}, {"model": "other"}, {"weight": 0.3}], [[8, 4]] * 4),
    "shuffle twice": (
        [{"model": "shuffle", "mask": encode_image(mask_image(2))}, {"model": "shuffle"}],
        [[4]] * 4,
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_one_call_of_a_network_for_all_its_units(folder: Path, unet: Any, name: str) -> None:
    items, wanted_rows = STACKS[name]
    units = units_of(folder, unet, *items)
    alone = apart(folder, unet, units)
    for step, wanted in enumerate(wanted_rows):
        call = random_call("c0 c1 u0 u1", 10 + step)
        with counted(units) as rows:
            found = controlled(unet, units, call, step)
        assert rows == wanted
        assert relative_error(found, controlled(unet, alone, call, step)) <= TOLERANCE


def test_beside_an_adapter_the_network_is_left_as_it_was(folder: Path, unet: Any) -> None:
    units = [*units_of(folder, unet, {}, {}), active(TokenControl(1), 2, weight=0.5)]
    call = random_call("c0 u0", 3)
    with torch.no_grad():
        plain = run(unet, call)
        assert relative_error(controlled(unet, units, call, 0), plain) > 1e-2
        assert torch.equal(run(unet, call), plain)


def test_shuffle_leaves_unconditional_rows_alone(folder: Path, unet: Any) -> None:
    units = units_of(folder, unet, {"model": "shuffle"})
    call = random_call("c0 c1 u0 u1", 3)
    with counted(units) as rows:
        found = controlled(unet, units, call, 0)
        controlled(unet, units, random_call("u0 u1", 3), 0)
    assert rows == [2]
    with torch.no_grad():
        plain = run(unet, call)
    assert relative_error(found[2:], plain[2:]) <= TOLERANCE
    assert relative_error(found[:2], plain[:2]) > 1e-3


def test_images_with_numbers_of_their_own_share_a_call(folder: Path, unet: Any) -> None:
    units = units_of(folder, unet, {}, {})
    cells = [(1, 0.5), (0.5, 0), (1, 0.5), (0, 0)]
    variants = [
        tuple(parse_request({"units": [{"model": "net", "weight": weight}]}).units[0] for weight in cell)
        for cell in cells
    ]
    call = batch_of(4, [0, 0, 0, 1])
    with counted(units) as rows:
        found = controlled(unet, units, call, 0, variants)
    # the latents of the first three are equal: one conditional and one other row for each unit
    assert rows == [4]
    alone = apart(folder, unet, units)
    for image, specs in enumerate(variants):
        own = [replace(unit, spec=spec) for unit, spec in zip(alone, specs, strict=True)]
        pair = [image, 4 + image]
        assert relative_error(found[pair], controlled(unet, own, call.take(pair), 0)) <= 1e-4
