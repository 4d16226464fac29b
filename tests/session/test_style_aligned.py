"""StyleAligned against google/style-aligned written out densely, on every host's U-Net."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.unit import repeated, unit_variants
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.effects.aligned_rows import first_rows
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Position, RowName, Rows, UNetCall
from lib_ctrlgen.unet.clocks import Row, RowQueue
from tests.support import control_files as files
from tests.support import networks
from tests.support.acting_units import half
from tests.support.networks import Call, Script, random_call
from tests.support.self_attention_reference import DenseAligned, loaded
from tests.support.unet_calls import port_of, run, sd_diffusers, sd_ldm

KINDS, CONDS, UNCONDS = "c0 u0 c1 c2 u1 u2", [0, 2, 3], [1, 4, 5]


def sgm() -> Any:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    return networks.sgm_unet()


@pytest.fixture(scope="module", params=[sd_ldm, sd_diffusers, sgm], ids=["ldm", "diffusers", "sgm"])
def unet(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="module")
def ldm() -> Any:
    return sd_ldm()


def unit(**fields: Any) -> dict[str, Any]:
    return {"control": "style_aligned", **fields}


def controlled(unet: Any, call: Call, pictures: int = 3, step: int = 0, **fields: Any) -> Tensor:
    units = loaded(unet, unit(**fields), pictures=pictures)
    with torch.no_grad(), ControlSession(port_of(unet), units, Script(4, [(step, call.rows)])):
        return run(unet, call)


def dense(unet: Any, call: Call, **how: Any) -> Tensor:
    """Conditional rows with conditional rows, unconditional ones with unconditional ones."""
    reference, found = DenseAligned(unet, **how), run(unet, call).clone()
    for rows in (CONDS, UNCONDS):
        found[rows] = reference(call.take(rows))
    return found


@pytest.mark.parametrize(
    ("params", "how"),
    [
        ({}, {}),
        ({"share_group_norm": False, "shared_score_scale": 1.5}, {"norms": False, "scale": 1.5}),
        ({"shared_score_shift": 0.7, "only_self_level": 0.0}, {"shift": 0.7}),
    ],
    ids=["default", "scale", "shift"],
)
def test_it_is_the_papers_code(unet: Any, params: dict[str, Any], how: dict[str, Any]) -> None:
    call = random_call(KINDS, 3)
    found, wanted = controlled(unet, call, params=params), dense(unet, call, **how)
    assert torch.allclose(found, wanted, atol=3e-4), (found - wanted).abs().max()
    plain = run(unet, call)
    assert torch.equal(found[:2], plain[:2]), "the first picture"
    assert (found[2:] - plain[2:]).abs().amax((1, 2, 3)).min() > 1e-3


def test_some_layers_are_left_alone(ldm: Any) -> None:
    call, count = random_call(KINDS, 3), len(port_of(ldm).self_attention_sites())
    found = controlled(ldm, call, params={"only_self_level": 0.3})
    alone = [k for k in range(count) if k % (count // int(0.3 * count)) == 0]
    assert torch.allclose(found, dense(ldm, call, alone=alone), atol=3e-4)
    nothing = controlled(ldm, call, params={"only_self_level": 1, "share_group_norm": False})
    assert torch.equal(nothing, run(ldm, call))


def attention(unet: Any, call: Call, *units: dict[str, Any], step: int = 0) -> Tensor:
    """What the first self attention gives with these units, [B, 8, 8, C]."""
    seen: list[Tensor] = []
    site = port_of(unet).self_attention_sites()[0]
    hook = site.to_out.register_forward_hook(lambda _m, _args, output: seen.append(output))
    loads = loaded(unet, *units, pictures=3)
    with torch.no_grad(), ControlSession(port_of(unet), loads, Script(4, [(step, call.rows)])):
        run(unet, call)
    hook.remove()
    return seen[-1].reshape(len(call.rows), 8, 8, -1)


def test_a_weight_and_a_mask_blend_it_with_plain_attention(ldm: Any) -> None:
    call, plainly = random_call(KINDS, 3), {"params": {"share_group_norm": False}}
    none, full = attention(ldm, call), attention(ldm, call, unit(**plainly))
    for step, share in enumerate((0.0, 0.25, 0.5, 0.75)):
        some = attention(ldm, call, unit(weight="0@0, 1@1", **plainly), step=step)
        assert torch.allclose(some, none + share * (full - none), atol=1e-5)
    left = attention(ldm, call, unit(mask=files.encode_image(half(left=True)), **plainly))
    assert torch.allclose(left[:, :, :4], full[:, :, :4], atol=1e-5)
    assert torch.allclose(left[:, :, 4:], none[:, :, 4:], atol=1e-5)


def queued(unet: Any, call: Call, rows: Sequence[Row], cuts: Sequence[int], pictures: int = 3) -> Tensor:
    """The predictions of a step whose rows the host computes in several calls, as the WebUI does."""
    queue, found = RowQueue(), []
    units = loaded(unet, unit(), pictures=pictures)
    with torch.no_grad(), ControlSession(port_of(unet), units, queue):
        for step in (0, 1):
            queue.begin(step, 4, rows)
            found = [run(unet, call.take(list(range(*ends)))) for ends in pairwise((0, *cuts, len(rows)))]
    return torch.cat(found)


def test_calls_may_split_a_steps_rows(unet: Any) -> None:
    """Two prompts joined by AND for each of three pictures, then the unconditional rows."""
    rows = [Row(cond=True, image=image) for image in (0, 0, 1, 1, 2, 2)]
    rows += [Row(cond=False, image=image) for image in range(3)]
    call = random_call("c0 c0 c1 c1 c2 c2 u0 u1 u2", 3)
    whole = queued(unet, call, rows, [])
    for cuts in ([1, 2, 5, 7], [3, 6], [6]):
        assert torch.allclose(queued(unet, call, rows, cuts), whole, atol=2e-5)
    second = DenseAligned(unet)(call.take([1, 3, 5]))
    assert torch.allclose(whole[[1, 3, 5]], second, atol=3e-4), "each prompt with the same one of the first"


def test_a_prompt_too_many_is_aligned_with_the_first_pictures_first() -> None:
    rows = Rows((True,) * 4 + (False,) * 2, (0, 1, 1, 1, 0, 1))
    position = Position(0, 4, rows)
    inputs = CallInputs(x=torch.zeros(6), timestep=torch.zeros(6), context=torch.zeros(6))
    call = UNetCall(inputs=inputs, position=position)
    assert first_rows(2, call) == [0, 0, 0, 0, 4, 4]
    assert first_rows(1, call) == [0, 1, 2, 3, 4, 5]
    late = call.select([3])
    assert first_rows(2, late) == [None]
    assert first_rows(2, late, [RowName(cond=True, image=0, concept=0, nth=nth) for nth in (2, 0)]) == [1]


def test_a_picture_before_the_first_one_is_an_error(ldm: Any) -> None:
    call = random_call("c1 c2", 3)
    with pytest.raises(HostError, match="the first picture"):
        controlled(ldm, call)


def test_cells_of_a_grid_are_aligned_each_with_its_own_first_picture(ldm: Any) -> None:
    """Rows that are equal in two cells are computed once only if their first pictures are equal, too."""
    weights = [0.5, 1, 1]
    requests = [parse_request({"units": [unit(weight=weight)]}) for weight in weights for _ in (0, 1)]
    units = repeated(loaded(ldm, unit(), pictures=2), 2, 3)
    call = random_call("c0 c1 c2 c3 c4 c5", 3)
    x = call.x[[0, 1] * 3]
    x[4] += 0.5  # the last cell's first picture is another one
    call = replace(call, x=x, context=call.context[[0, 1] * 3])
    session = ControlSession(port_of(ldm), units, Script(4, [(0, call.rows)]), unit_variants(requests, units))
    with torch.no_grad(), session:
        found = run(ldm, call)
    assert session.rows_computed == 6
    for cell, weight in enumerate(weights):
        rows = [2 * cell, 2 * cell + 1]
        part = call.take(rows)
        part = replace(part, rows=random_call("c0 c1", 3).rows)
        alone = controlled(ldm, part, pictures=2, weight=weight)
        assert torch.allclose(found[rows], alone, atol=2e-5)


def test_what_it_cannot_do_is_an_error_at_its_field(ldm: Any) -> None:
    picture = files.data_url(64, 64, 3)
    for fields, pictures, path in (
        ({}, 1, "control"),
        ({"image": picture}, 3, "image"),
        ({"control_mode": "prompt"}, 3, "control_mode"),
        ({"reuse": 2}, 3, "reuse"),
        ({"model": "m"}, 3, "model"),
    ):
        with pytest.raises(RequestError) as caught:
            loaded(ldm, unit(**fields), pictures=pictures)
        assert caught.value.path == f"$.units[0].{path}"
