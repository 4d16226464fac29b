"""A reference picture that the U-Net's layers see, against a dense computation on every host's U-Net."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.session.effects.reference_bank import fresh_noise
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Position, UNetCall
from tests.support import control_files as files
from tests.support import networks
from tests.support.acting_units import WAYS, half
from tests.support.denoised_reference import ALPHAS, encode
from tests.support.networks import Call, Script, active, random_call
from tests.support.self_attention_reference import DenseReference, Shown, loaded
from tests.support.unet_calls import port_of, run, sd_diffusers, sd_ldm

SEED = 3  # a whole timestep, 250
PICTURES = [files.picture(64, 64, seed) for seed in (3, 8)]


def sgm() -> Any:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    return networks.sgm_unet()


@pytest.fixture(scope="module", params=[sd_ldm, sd_diffusers, sgm], ids=["ldm", "diffusers", "sgm"])
def unet(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="module")
def ldm() -> Any:
    return sd_ldm()


def unit(picture: int = 0, method: str = "attention", **fields: Any) -> dict[str, Any]:
    image = files.encode_image(PICTURES[picture])
    params = {"method": method, **fields.pop("params", {})}
    return {"control": "reference", "image": image, "params": params, **fields}


def controlled(unet: Any, units: Sequence[dict[str, Any]], call: Call, step: int = 0) -> Tensor:
    session = ControlSession(port_of(unet), loaded(unet, *units), Script(4, [(step, call.rows)]))
    with torch.no_grad(), session:
        return run(unet, call)


def noised(call: Call, picture: int = 0, step: int = 0) -> Tensor:
    """The picture's latent at the call's noise level, with the step's noise."""
    clean = encode(PICTURES[picture])
    position = Position(step, 4, call.rows)
    inputs = CallInputs(x=call.x, timestep=call.timestep, context=call.context)
    alpha = ALPHAS[int(call.timestep[0])]
    noise = fresh_noise(UNetCall(inputs=inputs, position=position), clean)
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "attention": ({}, {"attention": 1.0}),
    "some": (
        {"params": {"attention_weight": 0.4, "style_fidelity": 0.2}},
        {"attention": 0.4, "fidelity": 0.2},
    ),
    "adain": ({"method": "adain", "params": {"adain_weight": 1.3}}, {"adain": 1.3}),
    "both": (
        {"method": "both", "weight": 0.6, "params": {"adain_fidelity": 0.9, "adain_weight": 2}},
        {"attention": 1.0, "adain": 2.0, "adain_fidelity": 0.9, "weight": 0.6},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_dense_computation(unet: Any, name: str) -> None:
    given, dense = CASES[name]
    call = random_call("c0 u0", SEED)
    wanted = DenseReference(unet)(call, [Shown(x=noised(call), **dense)])
    found = controlled(unet, [unit(**given)], call)
    assert torch.allclose(found, wanted, atol=2e-5), (found - wanted).abs().max()
    assert (found - run(unet, call)).abs().max() > 1e-3


def test_two_pictures_are_one_bank(unet: Any) -> None:
    call = random_call("u0 c0", SEED)
    shown = [Shown(x=noised(call, k), attention=1.0, adain=1.0) for k in (0, 1)]
    found = controlled(unet, [unit(k, "both") for k in (0, 1)], call)
    assert torch.allclose(found, DenseReference(unet)(call, shown), atol=2e-5)


def calls_made(
    unet: Any, units: Sequence[dict[str, Any]], calls: Sequence[tuple[int, Call]]
) -> tuple[Any, list[int]]:
    """The last prediction of some calls, and the rows of each call that the first layer computes."""
    rows: list[int] = []
    first = unet.input_blocks[0] if hasattr(unet, "input_blocks") else unet.conv_in
    hook = first.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
    script = Script(4, [(step, call.rows) for step, call in calls])
    with torch.no_grad(), ControlSession(port_of(unet), loaded(unet, *units), script):
        for _, call in calls:
            found = run(unet, call)
    hook.remove()
    return found, rows


def test_units_with_one_picture_share_a_pass_and_equal_texts_a_row(unet: Any) -> None:
    call = random_call("c0 c1 u0 u1", SEED)
    text = call.context[[0, 0, 2, 2]]
    call = replace(call, context=text, vector=call.vector[[0, 0, 2, 2]])
    units = [unit(weight=0.5), unit(method="adain"), unit(1)]
    _, rows = calls_made(unet, units, [(0, call)])
    assert rows == [2, 2, 4]
    _, rows = calls_made(unet, [unit(control_mode="control")], [(0, call)])
    assert rows == [1, 4], "nothing for rows that do not see the picture"


def test_rows_do_not_depend_on_how_the_host_splits_them(unet: Any) -> None:
    call = random_call("c0 c1 u0 u1", SEED)
    units = [unit(method="both")]
    together = controlled(unet, units, call)
    for rows in ([0], [3, 1], [2, 0, 3]):
        part = call.take(rows)
        assert torch.allclose(controlled(unet, units, part), together[rows], atol=2e-5)


def test_modes_and_the_hires_pass(ldm: Any) -> None:
    call = random_call("c0 u0", SEED)
    plain = run(ldm, call)
    free = DenseReference(ldm)(call, [Shown(x=noised(call), attention=1.0, fidelity=0.0)])
    assert torch.allclose(controlled(ldm, [unit(control_mode="prompt")], call), free, atol=2e-5)
    own = controlled(ldm, [unit(control_mode="control")], call)
    assert torch.equal(own[1:], plain[1:])
    assert torch.allclose(own[:1], free[:1], atol=2e-5)

    def hires(batch: int) -> Position:
        return Position(0, 4, call.rows, hires=True)

    with torch.no_grad(), ControlSession(port_of(ldm), loaded(ldm, unit(weight=1)), hires):
        found = run(ldm, call)
    assert (found[1] - plain[1]).abs().max() > 1e-3
    assert not torch.allclose(found, controlled(ldm, [unit()], call), atol=1e-4)


def first_attention(unet: Any, *units: dict[str, Any]) -> Tensor:
    """What the first self attention gives with these units, [B, 8, 8, C]."""
    call, seen = random_call("c0 u0", SEED), []
    site = port_of(unet).self_attention_sites()[0]
    hook = site.to_out.register_forward_hook(lambda _m, _args, output: seen.append(output))
    session = ControlSession(port_of(unet), loaded(unet, *units), Script(4, [(0, call.rows)]))
    with torch.no_grad(), session:
        run(unet, call)
    hook.remove()
    return seen[-1].reshape(2, 8, 8, -1)  # the reference calls come before


def test_each_picture_is_seen_in_its_mask_alone(ldm: Any) -> None:
    sides = [files.encode_image(half(left=left)) for left in (True, False)]
    both = first_attention(ldm, *(unit(k, mask=side) for k, side in enumerate(sides)))
    left, right = (first_attention(ldm, unit(k)) for k in (0, 1))
    assert torch.allclose(both[:, :, :4], left[:, :, :4], atol=1e-5)
    assert torch.allclose(both[:, :, 4:], right[:, :, 4:], atol=1e-5)
    assert not torch.allclose(left, right, atol=1e-3)


def test_a_schedule_goes_from_nothing_to_the_whole(ldm: Any) -> None:
    call = random_call("c0 u0", SEED)
    units = [unit(weight="0@0, 1@0.75")]
    plain = run(ldm, call)
    assert torch.equal(controlled(ldm, units, call), plain)
    whole = DenseReference(ldm)(call, [Shown(x=noised(call, step=3), attention=1.0)])
    assert torch.allclose(controlled(ldm, units, call, 3), whole, atol=2e-5)


def test_reuse_takes_the_bank_of_an_earlier_step(ldm: Any) -> None:
    calls = [(step, random_call("c0 u0", SEED)) for step in range(4)]
    _, rows = calls_made(ldm, [unit(reuse=3)], calls)
    assert rows == [2, 2, 2, 2, 2, 2], "reference calls at the steps 0 and 3"
    earlier, later = (random_call("c0 u0", seed) for seed in (SEED, SEED + 7))
    found, _ = calls_made(ldm, [unit(reuse=2)], [(0, earlier), (1, later)])
    dense = DenseReference(ldm)
    shown = [Shown(x=noised(earlier), attention=1.0)]
    banks = []
    for row in (0, 1):
        dense.shown, dense.cond, dense.banks, dense.writing = shown, row == 0, {}, shown[0]
        run(dense.unet, replace(earlier.row(row), x=shown[0].x))
        dense.writing = None
        banks.append(run(dense.unet, later.row(row)))
    assert torch.allclose(found, torch.cat(banks), atol=2e-5)


def test_an_inpainting_unet_sees_a_picture_without_a_hole() -> None:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    unet, call = networks.ldm_unet(in_channels=9), random_call("c0 u0", SEED)
    more = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    call = replace(call, x=torch.cat([call.x, more], 1))
    whole = torch.cat([noised(call), torch.zeros(1, 1, 8, 8), encode(PICTURES[0])], 1)
    wanted = DenseReference(unet)(call, [Shown(x=whole, attention=1.0)])
    assert torch.allclose(controlled(unet, [unit()], call), wanted, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_no_other_unit_acts_in_a_reference_call(ldm: Any, way: str) -> None:
    """The last layer sees there what it sees without the other unit, also after a call of the host."""
    seen: list[Tensor] = []
    hook = ldm.out.register_forward_hook(lambda _m, _args, output: seen.append(output))
    call = random_call("c0 u0", SEED)
    for others in ([], [active(WAYS[way](2), 1)]):
        units = [*loaded(ldm, unit(method="both")), *others]
        script = Script(4, [(step, call.rows) for step in (0, 1)])
        with torch.no_grad(), ControlSession(port_of(ldm), units, script):
            run(ldm, call)
            run(ldm, call)
    hook.remove()
    plain, controlled = seen[:4], seen[4:]  # each a reference call and a call of the host, twice
    assert torch.equal(plain[0], controlled[0])
    assert torch.equal(plain[2], controlled[2])
    assert not torch.allclose(plain[1], controlled[1], atol=1e-3)


def test_the_hosts_random_numbers_stay_as_they_are(ldm: Any) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    controlled(ldm, [unit()], random_call("c0 u0", SEED))
    assert torch.equal(torch.rand(3), wanted)
