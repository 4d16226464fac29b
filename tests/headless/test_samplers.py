"""Samplers and schedulers: their names, their sigmas, and their results on data with a known answer."""

import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.sampling import kdiffusion
from lib_ctrlgen.headless.sampling.kdiffusion import k_sampling
from lib_ctrlgen.headless.sampling.noise_levels import LcmLevels, NoiseLevels
from lib_ctrlgen.headless.sampling.schedulers import sigmas_of
from lib_ctrlgen.headless.sampling.solvers.restart import steps_of
from lib_ctrlgen.request.sampler_names import AUTOMATIC, SAMPLERS, SCHEDULERS, Choice, choose, sampler_names
from lib_ctrlgen.request.spec import GenerationRequest, json_schema, parse_request
from tests.support.fake_unet import NOISE, SamplerRun

ALPHAS = alphas_cumprod_of(NOISE)
LEVELS = NoiseLevels.of(ALPHAS)
SPREAD = 0.5  # the deviation of the data that the fake network knows
RANDOM = {"Euler a", "DPM2 a", "DPM++ 2S a", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"}
RANDOM |= {"DPM fast", "DPM adaptive", "Restart", "LCM"}
LABELS = [label for label in SCHEDULERS if label != AUTOMATIC]


def gaussian(x: Tensor, timestep: Tensor) -> Tensor:
    """The noise in x, for data that is Gaussian with deviation SPREAD: the best possible network."""
    sigma = LEVELS.sigma(timestep.float()).reshape(-1, 1, 1, 1)
    return x * sigma * (1 + sigma**2).sqrt() / (SPREAD**2 + sigma**2)


# Names


@pytest.mark.parametrize("name", sampler_names())
def test_every_name_is_understood_in_any_case(name: str) -> None:
    wanted = choose(name)
    assert choose(f" {name.upper()} ") == choose(name.lower()) == wanted
    assert parse_request({"sampler": name}, GenerationRequest).sampling == wanted


@pytest.mark.parametrize(
    ("sampler", "scheduler", "found"),
    [
        ("DPM++ 2M", "Automatic", Choice("DPM++ 2M", "Karras")),
        ("Euler", "automatic", Choice("Euler", "Uniform")),
        ("DPM++ 2M SDE Heun", "", None),
        ("DPM++ 2M SDE Heun Exponential", "exponential", Choice("DPM++ 2M SDE Heun", "Exponential")),
        ("Euler SGMUniform", "Automatic", Choice("Euler", "SGM Uniform")),
        ("euler ddim", "Automatic", Choice("Euler", "DDIM")),
        ("k_dpm_2_a", "align_your_steps", Choice("DPM2 a", "Align Your Steps")),
        ("DPM++ 2M Karras", "Exponential", None),
        ("DDIM", "Automatic", Choice("DDIM", "")),
        ("DDIM", "Karras", None),
        ("UniPC Karras", "Automatic", None),
    ],
)
def test_what_names_mean_together(sampler: str, scheduler: str, found: Choice | None) -> None:
    if found is None:
        with pytest.raises(RequestError):
            choose(sampler, scheduler)
    else:
        assert choose(sampler, scheduler) == found


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"sampler": "Euler b"}, "$.sampler", "unknown sampler 'Euler b'; nearest: .*Euler"),
        ({"scheduler": "Karas"}, "$.scheduler", "unknown scheduler 'Karas'; nearest: Karras"),
        ({"sampler": "UniPC", "steps": 2}, "$.steps", "UniPC needs at least 3 steps, got 2"),
        ({"sampler": "PLMS Beta"}, "$.sampler", "takes no scheduler: leave Beta out"),
        ({"sampler": "Heun Beta", "scheduler": "Simple"}, "$.scheduler", "ends with Beta already"),
    ],
)
def test_a_wrong_name_says_what_is_right(fields: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        parse_request(fields, GenerationRequest)
    assert caught.value.path == path


@settings(max_examples=25)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_name_or_an_error_with_a_place(sampler: str, scheduler: str) -> None:
    try:
        found = choose(sampler, scheduler).sampler
    except RequestError as error:
        found = error.path
    assert found in {*SAMPLERS, "sampler", "scheduler"}


def test_the_schema_lists_what_is_accepted() -> None:
    fields = json_schema()["$defs"]["GenerationRequest"]["properties"]
    assert {*SAMPLERS, "DPM++ 2M Karras", "k_euler_a"} <= set(fields["sampler"]["enum"])
    assert fields["scheduler"]["enum"] == list(SCHEDULERS)
    assert fields["scheduler"]["default"] == AUTOMATIC


def test_names_are_known_without_torch() -> None:
    code = """
import sys
from itertools import pairwise
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import read_job
try:
    read_job("x", ["sampler=Eulr"])
except Exception:
    pass
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
try:
    parse_request({"sampler": "Eulr"}, GenerationRequest)
except RequestError as error:
    assert error.path == "$.sampler"
else:
    raise SystemExit("accepted")
raise SystemExit("torch was imported" if "torch" in sys.modules else 0)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_k_diffusion_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdiffusion, "find_spec", lambda _name: None)
    k_sampling.cache_clear()
    with pytest.raises(RequestError, match=r"^\$\.sampler: .*pip install --no-deps k-diffusion==") as caught:
        SamplerRun("Euler", 2)(gaussian)
    assert caught.value.path == "$.sampler"
    monkeypatch.undo()
    assert torch.isfinite(SamplerRun("Euler", 2)(gaussian)).all()


# Levels and schedulers


@given(st.floats(0, 999))
def test_a_level_between_two_timesteps_and_back(timestep: float) -> None:
    sigma = LEVELS.sigma(torch.tensor([timestep]))
    assert float(LEVELS.timestep(sigma)) == pytest.approx(timestep, abs=2e-2)


def test_levels_of_consistency_models_are_every_twentieth() -> None:
    levels = LcmLevels.of(ALPHAS)
    assert torch.equal(levels.sigmas, LEVELS.sigmas[19::20])
    assert levels.timestep(levels.sigmas).tolist() == list(range(19, 1000, 20))
    assert torch.allclose(levels.sigma(torch.tensor([19, 999])), LEVELS.sigmas[[19, 999]])


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("steps", [1, 2, 7, 11, 20, 150])
def test_sigmas_fall_to_the_end(label: str, steps: int) -> None:
    for sampler in ("Euler", "DPM++ 3M SDE"):
        sigmas = sigmas_of(Choice(sampler, label), steps, LEVELS)
        assert len(sigmas) == steps + 1 or (label == "DDIM" and len(sigmas) > steps)
        assert (sigmas.diff() < 0).all()
        assert float(sigmas[-1]) == (pytest.approx(LEVELS.lowest) if label == "KL Optimal" else 0)
        if steps > 2:
            lowest = 5 if label == "DDIM" else 13  # whole strides may leave out the last timesteps
            assert lowest < float(sigmas[0]) < 14.62


@pytest.mark.parametrize("count", [2, 10, 31])
def test_schedules_of_k_diffusion(count: int) -> None:
    for label in ("Karras", "Exponential", "Polyexponential"):
        theirs = getattr(k_sampling(), f"get_sigmas_{label.lower()}")(count, LEVELS.lowest, LEVELS.highest)
        assert torch.allclose(sigmas_of(Choice("Euler", label), count, LEVELS), theirs, rtol=1e-5)


def test_align_your_steps_has_its_published_numbers() -> None:
    choice = Choice("Euler", "Align Your Steps")
    assert sigmas_of(choice, 11, LEVELS)[:4].tolist() == pytest.approx([14.615, 6.475, 3.861, 2.697])
    assert sigmas_of(choice, 11, LEVELS, sdxl=True)[:3].tolist() == pytest.approx([14.615, 6.315, 3.771])
    between = sigmas_of(choice, 21, LEVELS)
    assert float(between[1]) == pytest.approx(math.sqrt(14.615 * 6.475), rel=1e-4)


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_makes_what_the_data_are(name: str) -> None:
    """Noise runs along the known path to data; samplers with noise of their own keep the deviation."""
    run = SamplerRun(name, 60)
    seeds = range(4)
    made = run(gaussian, seeds=seeds)
    if name in RANDOM:
        # a network that gives means is no consistency model: LCM loses spread with it
        assert (
            0.1 < float(made.std()) < SPREAD if name == "LCM" else abs(float(made.std()) / SPREAD - 1) < 0.15
        )
        return
    start = torch.stack([torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(s)) for s in seeds])
    # DDIM and its kin begin at a level that holds a little signal
    assert torch.allclose(made, start * SPREAD, atol=0.12)
    assert float(made.std()) == pytest.approx(SPREAD, rel=0.07)


@pytest.mark.parametrize("steps", [3, 10, 20, 37])
@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_are_as_many_as_the_clock_counts(name: str, steps: int) -> None:
    run = SamplerRun(name, steps)
    run(gaussian)
    calls, total = len(run.unet.timesteps), SAMPLERS[name].total_steps(steps)
    if name == "DPM adaptive":
        assert calls > 20
    elif SAMPLERS[name].scheduler is None:
        assert abs(calls - total) <= max(1, total // 4)  # whole strides of 1000 timesteps
    else:
        assert calls == total - SAMPLERS[name].doubled


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_picture_of_a_batch_is_as_alone(name: str) -> None:
    if SAMPLERS[name].adaptive:
        pytest.skip("it chooses its steps by the whole batch")
    run = SamplerRun(name, 5)
    both = run(gaussian, seeds=(3, 4))
    assert torch.allclose(both[1:], run(gaussian, seeds=(4,)), atol=1e-5)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.scheduler])
def test_every_scheduler_with_every_sampler(name: str, label: str) -> None:
    long = 21 if name == "Restart" else 9  # with fewer than 20 it does not go back
    for steps in {SAMPLERS[name].least, 4, long}:
        assert torch.isfinite(SamplerRun(name, steps, label)(gaussian)).all()


@pytest.mark.parametrize("name", ["DPM adaptive", "DPM fast"])
def test_a_solver_that_chooses_its_steps_stops_at_what_is_not_finite(name: str) -> None:
    with pytest.raises(HostError, match="not finite"):
        SamplerRun(name, 5)(lambda x, _t: x * math.nan)


def test_higher_orders_are_nearer_to_the_truth() -> None:
    fine = SamplerRun("UniPC", 200)(gaussian)
    errors = {
        name: float((SamplerRun(name, 10)(gaussian) - fine).abs().max()) for name in ("DDIM", "PLMS", "UniPC")
    }
    assert errors["UniPC"] < errors["DDIM"]
    assert errors["PLMS"] < errors["DDIM"]


@pytest.mark.parametrize(("count", "restarts"), [(19, 0), (20, 1), (35, 1), (36, 2), (60, 2)])
def test_restart_goes_back_to_noise(count: int, restarts: int) -> None:
    steps = steps_of(sigmas_of(Choice("Restart", "Karras"), count, LEVELS))
    jumps = [(before, after) for (_, before), (after, _) in pairwise(steps) if after > before]
    assert len(jumps) == restarts
    assert len(steps) == count
    assert all(float(low) == pytest.approx(0.1, rel=0.5) for low, _ in jumps)
    assert all(float(high) == pytest.approx(2, rel=0.3) for _, high in jumps)
