"""Units that change the prediction after the U-Net, compared with their formulas on real U-Nets."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from lib_ctrlgen.controls.base import UnitInputs
from lib_ctrlgen.controls.holes import holes_at
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Rows
from lib_ctrlgen.unet.noise_level import NoiseSchedule
from tests.support import control_files as files
from tests.support import networks
from tests.support.denoised_reference import (
    ALPHAS,
    FORMULAS,
    back,
    clean,
    controlled,
    diffusers,
    encode,
    fixed,
    fractional,
    hole_cells,
    holed,
    inpainting,
    ldm,
    port_of,
    restored,
    run,
    unit,
)
from tests.support.networks import NetworkControl, Script
from tests.support.pictures import mask_image


@pytest.fixture(scope="module", params=[ldm, diffusers], ids=["ldm", "diffusers"])
def unet(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_levels_are_those_of_diffusers() -> None:
    x, output = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("epsilon", "v_prediction"):
        velocity = name == "v_prediction"
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=name,
            clip_sample=False,
        )  # fmt: skip
        scheduler.set_timesteps(1000)
        for timestep in (0, 40, 999):
            level = NoiseSchedule(alphas_cumprod=ALPHAS, velocity=velocity).at(torch.full((3,), timestep))
            wanted = scheduler.step(output, timestep, x).pred_original_sample
            scale = wanted.abs().max()
            assert torch.allclose(level.denoised(x, output) / scale, wanted / scale, atol=1e-5)
            moved = level.denoised(x, output + level.output_change(torch.ones_like(x)))
            assert torch.allclose(moved / scale, (wanted + 1) / scale, atol=1e-5)


@pytest.mark.parametrize("velocity", [False, True], ids=["eps", "v"])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula(unet: Any, name: str, velocity: bool) -> None:
    given, formula = FORMULAS[name]
    call = fractional("c0 u0 c1 u1")
    plain = run(unet, call)
    latent = clean(call, plain, velocity=velocity)
    shares = {"1": 1.0, "0.3": 0.3}
    if name == "inpaint_only":  # every formula's share is clamped in the same place
        shares |= {"1.7": 1.0, "-1": 0.0}
    for weight, share in shares.items():
        wanted = plain + share * (back(call, formula(latent, call.rows), velocity=velocity) - plain)
        for whole in (True, False) if weight == "1" else (True,):
            acting = unit(name, velocity=velocity, weight=weight, **given)
            found = controlled(unet, [acting], call, whole=whole)
            assert torch.allclose(found.double(), wanted, atol=1e-5), (found - wanted).abs().max()


@pytest.mark.parametrize("velocity", [False, True], ids=["eps", "v"])
def test_outside_the_hole_is_the_picture_and_inside_the_prediction(unet: Any, velocity: bool) -> None:
    call = fractional("c0 u0")
    found = controlled(unet, [unit("inpaint_only", velocity=velocity, control_mode="control")], call)
    latent, hole = clean(call, found, velocity=velocity), hole_cells()
    origin = encode(holed().convert("RGB")).double()
    assert (torch.where(hole, origin, latent) - origin).abs().max() < 1e-5
    plain = run(unet, call)
    assert torch.equal(torch.where(hole, found, plain), plain.where(hole, plain))
    assert not torch.allclose(found, plain, atol=1e-2)


def test_an_inpainting_unet_has_its_latent_in_front() -> None:
    network, call = inpainting(), fractional("c0 u0")
    call = replace(call, x=torch.cat([call.x, torch.randn(2, 5, 8, 8)], 1))
    found = controlled(network, [unit("inpaint_only")], call)
    wanted = restored(clean(call, run(network, call), velocity=False), call.rows)
    assert torch.allclose(clean(call, found, velocity=False), wanted, atol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_outside_its_window_nothing_changes(unet: Any, name: str) -> None:
    call = fractional("c0 u0")
    plain = run(unet, call)
    acting = unit(name, guidance_start=0.25, guidance_end=0.75)
    found = [controlled(unet, [acting], call, step) for step in range(4)]
    assert [torch.equal(each, plain) for each in found] == [True, False, False, True]


def test_a_mask_restricts_the_change(unet: Any) -> None:
    call, area = fractional("c0 u0"), mask_image(3)
    plain = run(unet, call)
    whole = controlled(unet, [unit("tile_colorfix")], call)
    found = controlled(unet, [unit("tile_colorfix", mask=area, mask_strength=0.6)], call)
    grey = torch.tensor(np.asarray(area.convert("L")) / 255.0)
    share = 1 - 0.6 * (1 - torch.nn.functional.avg_pool2d(grey[None, None], 8))
    assert torch.allclose(found.double(), plain + share * (whole - plain), atol=1e-5)


def test_units_act_on_both_sides_of_the_unet_and_what_restores_comes_last(unet: Any) -> None:
    call = fractional("c0 u0 c1 u1")
    hint = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(11))
    control = NetworkControl(networks.controlnet(1), hint)
    first = unit("inpaint_only", control=control, control_mode="control", weight=0.8)
    second = replace(unit("tile_colorfix"), index=1)
    found = controlled(unet, [first, second], call)
    assert [rows.cond for rows in control.rows] == [(True, True)]  # residuals obey the mode
    plain = controlled(unet, [replace(first, after_unet=None)], call)
    latent = clean(call, plain, velocity=False)
    colours = fixed(latent, call.rows)
    wanted = colours + 0.8 * (restored(colours, call.rows) - colours)
    assert torch.allclose(found.double(), back(call, wanted, velocity=False), atol=1e-5)


def test_the_hires_pass_counts_cells_twice(unet: Any) -> None:
    call = fractional("c0 u0")
    acting = unit("tile_colorfix", params={"variation": 3})

    class Hires(Script):
        def __call__(self, batch: int) -> Any:
            return replace(super().__call__(batch), hires=True)

    with ControlSession(port_of(unet), [acting], Hires(4, [(0, call.rows)])):
        found = run(unet, call)
    latent = clean(call, run(unet, call), velocity=False)
    wanted = back(call, fixed(latent, call.rows, reach=6), velocity=False)
    assert torch.allclose(found.double(), wanted, atol=1e-5)


def test_cells_of_a_batch_are_as_they_are_alone(unet: Any) -> None:
    cells = [{"weight": 1}, {"weight": 0.4}, {"weight": 1}, {"weight": "1 in 0..0.5"}, {"weight": 0}]
    images = len(cells)
    call = fractional(" ".join([f"c{i}" for i in range(images)] + [f"u{i}" for i in range(images)]))
    texts = torch.cat([call.context[:1]] * images + [call.context[images:][:1]] * images)
    call = replace(call, x=torch.cat([call.x[:1]] * (2 * images)), context=texts)
    base = unit("tile_colorfix+sharp")
    specs = [replace_weight(base, cell["weight"]) for cell in cells]
    script = Script(4, [(1, call.rows)])
    with ControlSession(port_of(unet), [base], script, [(each.spec,) for each in specs]) as session:
        found = run(unet, call)
    assert session.rows_computed == 6 < session.rows_asked == 10
    for image, acting in enumerate(specs):
        rows = [image, images + image]
        alone = replace(
            call, x=call.x[rows], timestep=call.timestep[rows], context=call.context[rows],
            rows=Rows((True, False), (0, 0)),
        )  # fmt: skip
        assert torch.allclose(found[rows], controlled(unet, [acting], alone, 1), atol=2e-4)


def replace_weight(base: ActiveUnit, weight: Any) -> ActiveUnit:
    spec = parse_request(
        {"units": [{"model": "m", "preprocessor": base.spec.preprocessor, "weight": weight}]}
    )
    return replace(base, spec=spec.units[0])


@pytest.mark.parametrize("failure", [None, ValueError("in the middle")])
def test_the_unet_is_left_as_it_was(unet: Any, failure: Exception | None) -> None:
    call = fractional("c0 u0")
    plain = run(unet, call)
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in unet.modules()]
    acting = unit("inpaint_only")
    session = ControlSession(port_of(unet), [acting], Script(4, [(0, call.rows)]))
    try:
        with session:
            run(unet, call)
            if failure:
                raise failure
    except ValueError:
        pass
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in unet.modules()] == before
    assert torch.equal(run(unet, call), plain)


def test_half_precision_stays_and_rows_without_a_unit_are_the_same_bits() -> None:
    acting = unit("tile_colorfix")
    call = fractional("c0 u0")
    network = diffusers().half()
    half = replace(call, x=call.x.half(), context=call.context.half())
    plain = run(network, half)
    specs = [(replace_weight(acting, 1).spec,), (replace_weight(acting, 0).spec,)]
    rows = Rows((True, True), (0, 1))
    with ControlSession(port_of(network), [acting], Script(4, [(0, rows)]), specs):
        found = run(network, half)
    assert found.dtype == torch.float16
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])


@pytest.mark.parametrize(
    ("mode", "box_"), [("just_resize", None), ("crop_and_resize", None), ("resize_and_fill", (0, 16, 64, 48))]
)
def test_what_is_filled_around_a_picture_is_a_hole(mode: str, box_: Any) -> None:
    fields = {"model": "m", "preprocessor": "inpaint_only", "resize_mode": mode}
    parsed = parse_request({"units": [fields]}).units[0]
    job = UnitInputs(unit=parsed, path="$", given=files.picture(64, 32), params={})
    holes = np.asarray(holes_at(job, 64, 64))[..., 0] > 0
    wanted = np.ones((64, 64), bool) if box_ else np.zeros((64, 64), bool)
    if box_:
        wanted[box_[1] : box_[3], box_[0] : box_[2]] = False
    assert np.array_equal(holes, wanted)
