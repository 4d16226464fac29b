"""The headless engine: samplers, batches, guidance, controls, and a U-Net that is restored afterwards."""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.checkpoints.load import (
    new_pipeline,
)
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest
from tests.support.tiny_engine import CPU, EDGES, LOOK, differ, hooks_of, pixels, request, same

NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_schedules_follow_the_webuis_clock(engine: Engine, name: str) -> None:
    steps = 3
    told: list[tuple[int, int]] = []
    made = engine.generate(
        request({**EDGES, "weight": "1>0"}, sampler=name, steps=steps), lambda *now: told.append(now)
    )
    total = made.plan.steps
    assert total == SAMPLERS[name].total_steps(steps)
    assert told[0] == (1, total)
    assert told[-1] == (total, total)
    assert all(before <= after for before, after in pairwise(told))
    assert made.plan.weights[0] == tuple(1 - i / total for i in range(total))
    assert made.images[0].size == (64, 64)  # that a unit acts: test_stack.py, with every sampler


# Generation


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M", "DPM++ 2M SDE"])
def test_picture_i_of_a_batch_is_the_picture_of_seed_plus_i(engine: Engine, sampler: str) -> None:
    batch = engine.generate(request(EDGES, LOOK, seed=7, batch_size=2, sampler=sampler, steps=3))
    assert batch.seeds == (7, 8)
    for seed, image in zip(batch.seeds, batch.images, strict=True):
        single = engine.generate(request(EDGES, LOOK, seed=seed, sampler=sampler, steps=3))
        assert np.abs(pixels(single.images[0]) - pixels(image)).max() <= 1


def test_the_same_request_gives_the_same_pictures(engine: Engine) -> None:
    wanted = request(EDGES, LOOK, sampler="Euler a", steps=3)
    assert same(engine.generate(wanted), engine.generate(wanted))


def calls_of(engine: Engine, wanted: GenerationRequest) -> list[dict[str, Any]]:
    """What the U-Net is called with."""
    unet = engine.load(wanted.model).unet
    calls: list[dict[str, Any]] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(dict(zip(("sample", "timestep"), args, strict=False)) | kwargs)

    handle = unet.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        engine.generate(wanted)
    finally:
        handle.remove()
    return calls


def states(engine: Engine, text: str) -> Tensor:
    loaded = engine.load("ctrlgen-tiny")
    ids = loaded.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        return loaded.text_encoder(ids)[0]


def test_guided_rows_are_the_unconditional_ones_then_the_conditional_ones(engine: Engine) -> None:
    first, *_ = calls_of(engine, request(prompt="ab", negative_prompt="cd", batch_size=2))
    assert first["sample"].shape == (4, 4, 8, 8)
    context = first["encoder_hidden_states"]
    expected = torch.cat([states(engine, "cd")] * 2 + [states(engine, "ab")] * 2)
    assert torch.allclose(context, expected, atol=1e-5)
    assert torch.equal(first["sample"][0], first["sample"][2])


def test_without_guidance_there_are_only_conditional_rows(engine: Engine) -> None:
    first, *_ = calls_of(engine, request(LOOK, EDGES, prompt="ab", cfg_scale=1, batch_size=2))
    assert torch.allclose(first["encoder_hidden_states"], torch.cat([states(engine, "ab")] * 2), atol=1e-5)


def test_a_session_without_units_is_diffusers_own_pipeline(engine: Engine) -> None:
    wanted = request(sampler="Euler", steps=4, cfg_scale=5)  # 4 even timesteps are whole ones
    scheduler = EulerDiscreteScheduler(**NOISE, timestep_spacing="linspace", steps_offset=1)
    theirs = new_pipeline(engine.load(wanted.model), scheduler)(
        "a red star",
        negative_prompt="",
        width=64,
        height=64,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
    ).images
    assert np.abs(pixels(theirs[0]) - pixels(engine.generate(wanted).images[0])).max() <= 1


@pytest.mark.parametrize("unit", [EDGES, {**LOOK, "weight": 6}])
def test_a_control_acts_inside_its_window_only(engine: Engine, unit: dict[str, Any]) -> None:
    plain = engine.generate(request(steps=4))
    assert differ(engine.generate(request({**unit, "guidance_end": 0.5}, steps=4)), plain)
    assert same(engine.generate(request({**unit, "weight": 0}, steps=4)), plain)
    assert same(engine.generate(request({**unit, "enabled": False}, steps=4)), plain)


def test_nothing_is_left_on_the_unet(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    before = engine.generate(request())
    engine.generate(request(EDGES, LOOK))
    assert hooks_of(networks.unet) == 0
    assert same(engine.generate(request()), before)


def test_nothing_is_left_on_the_unet_after_an_interrupt(engine: Engine) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    before = engine.generate(request(EDGES))
    with pytest.raises(KeyboardInterrupt):
        engine.generate(request(EDGES, LOOK), interrupt)
    assert hooks_of(engine.load("ctrlgen-tiny").unet) == 0
    assert same(engine.generate(request(EDGES)), before)


def test_control_maps_are_what_the_networks_see(engine: Engine) -> None:
    canny = {**EDGES, "preprocessor": "canny"}
    made = engine.generate(request({**EDGES, "enabled": False}, canny, LOOK, width=72, height=64, steps=1))
    assert [(item.index, item.model) for item in made.control_maps] == [
        (1, "ctrlgen-tiny-edges"),
        (2, "ctrlgen-tiny-ip"),
    ]
    assert made.control_maps[0].image.size == (72, 64)
    assert made.images[0].size == (72, 64)
    assert made.plan.labels == ("1 ctrlgen-tiny-edges", "2 ctrlgen-tiny-ip")


def test_a_wrong_unit_says_where(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.units\[1\]\.model: no model named 'eges'"):
        engine.generate(request(EDGES, {"model": "eges"}))


@pytest.mark.parametrize(("model", "index"), [("ctrlgen-tiny-edges", 1), ("ctrlgen-tiny-ip", 0)])
def test_a_damaged_control_makes_no_black_picture(root: Path, tmp_path: Path, model: str, index: int) -> None:
    tensors = load_file(root / "ControlNet" / f"{model}.safetensors")
    save_file(
        {name: torch.full_like(each, torch.nan) for name, each in tensors.items()},
        tmp_path / "nan.safetensors",
    )
    units = [EDGES, LOOK]
    units[index] = {**units[index], "model": "nan"}
    with pytest.raises(RequestError, match="'nan' the U-Net's prediction is not finite") as raised:
        Engine([root, tmp_path], 1 << 30, CPU).generate(request(*units))
    assert raised.value.path == f"$.units[{index}]"


@pytest.mark.parametrize(
    ("network", "units", "said"),
    [
        ("unet", [], "the latents are not finite"),
        ("unet", [EDGES], "step 1 of 2, also without any unit"),
        ("vae", [EDGES], "the VAE is damaged, or overflows in float32"),
    ],
    ids=["U-Net", "U-Net beside a unit", "VAE"],
)
def test_a_checkpoint_that_is_not_finite_is_blamed_itself(
    root: Path, network: str, units: list[dict[str, Any]], said: str
) -> None:
    engine = Engine([root], 1 << 30, CPU)
    networks = engine.load("ctrlgen-tiny")
    part = {"unet": networks.unet, "vae": networks.vae.decoder}[network]
    next(part.parameters()).data.fill_(torch.nan)
    with pytest.raises(HostError, match=said):
        engine.generate(request(*units))


def test_nothing_warns(engine: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's, about diffusers' code
        for sampler in ("Euler", "DPM++ 2M", "DPM++ SDE", "DDIM", "PLMS", "UniPC", "Heun", "LCM", "Restart"):
            engine.generate(request(EDGES, LOOK, sampler=sampler, steps=3))
