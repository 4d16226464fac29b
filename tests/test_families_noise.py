"""Noise and samplers of models that predict v."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.load import load_networks
from lib_ctrlgen.headless.samplers import SAMPLERS, make_scheduler
from lib_ctrlgen.store import ModelStore
from tests import family_models as families
from tests.family_engine import CPU, Change, changed, latents_of, off, request

pytest_plugins = ["tests.family_engine"]


def test_zero_terminal_snr_is_the_webuis(family_root: Path, tmp_path: Path) -> None:
    both: Change = lambda tensors, _params: tensors.update(v_pred=torch.zeros(0), ztsnr=torch.zeros(0))  # noqa: E731
    path = changed(family_root, tmp_path, "sdxl", both)
    noise = load_networks(path, ModelStore([tmp_path], 1 << 30), CPU).noise
    plain = make_scheduler("Euler", 5, {**families.NOISE}, []).alphas_cumprod
    roots = plain.double().sqrt()
    wanted = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    wanted[-1] = 4.8973451890853435e-08
    sigmas = ((1 - wanted) / wanted).sqrt()
    for name in SAMPLERS:
        try:
            scheduler = make_scheduler(name, 5, noise, [0])
        except RequestError as error:
            pytest.skip(error.message)
        found = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
        assert torch.allclose(found.double(), sigmas, rtol=1e-3)
    assert float(make_scheduler("Euler", 5, noise, []).sigmas[0]) == pytest.approx(4518.7, rel=1e-3)
    engine = Engine([tmp_path], 1 << 30, CPU)
    assert torch.isfinite(latents_of(engine, request(sampler="Euler"))).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_reads_v_as_it_reads_epsilon(name: str) -> None:
    """A network that says the same in v as in epsilon leads to the same picture."""
    ends = []
    for prediction in ("epsilon", "v_prediction"):
        try:
            scheduler = make_scheduler(name, 4, {**families.NOISE, "prediction_type": prediction}, [0])
        except RequestError as error:
            pytest.skip(error.message)
        torch.manual_seed(0)
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * scheduler.init_noise_sigma
        noise = {"generator": torch.Generator().manual_seed(2)}
        for t in scheduler.timesteps:
            given = scheduler.scale_model_input(x, t)
            alpha = interpolated(scheduler.alphas_cumprod, float(t))
            epsilon = torch.tanh(given) * 0.7 + 0.1
            clean = (given - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
            v = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * clean
            options = noise if "generator" in inspect.signature(scheduler.step).parameters else {}
            out = epsilon if prediction == "epsilon" else v
            x = scheduler.step(out, t, x, **options).prev_sample
        ends.append(x)
    assert off(*ends) < 2e-2  # multistep schedulers round their timesteps


def interpolated(alphas: Tensor, t: float) -> Tensor:
    """alpha at a timestep between two, sigma's logarithm being linear."""
    logs = (((1 - alphas) / alphas).sqrt()).log()
    low = min(int(t), len(alphas) - 2)
    sigma = (logs[low] + (t - low) * (logs[low + 1] - logs[low])).exp()
    return 1 / (sigma**2 + 1)
