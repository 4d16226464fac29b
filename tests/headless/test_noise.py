"""The noise schedules and samplers of models with v-prediction."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.load import load_networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.noise_levels import NoiseLevels
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.sampler_names import SAMPLERS
from tests.support import checkpoint_models as checkpoints
from tests.support.checkpoint_engine import CPU, Change, changed, latents_of, off, request
from tests.support.fake_unet import SamplerRun

pytest_plugins = ["tests.support.checkpoint_engine"]


def test_zero_terminal_snr_is_the_webuis(checkpoint_root: Path, tmp_path: Path) -> None:
    both: Change = lambda tensors, _params: tensors.update(v_pred=torch.zeros(0), ztsnr=torch.zeros(0))  # noqa: E731
    path = changed(checkpoint_root, tmp_path, "sdxl", both)
    noise = load_networks(path, ModelStore([tmp_path], 1 << 30), CPU).noise
    roots = alphas_cumprod_of({**checkpoints.NOISE}).double().sqrt()
    wanted = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    wanted[-1] = 4.8973451890853435e-08
    levels = NoiseLevels.of(alphas_cumprod_of(noise))
    assert torch.allclose(levels.sigmas.double(), ((1 - wanted) / wanted).sqrt(), rtol=1e-3)
    assert levels.highest == pytest.approx(4518.7, rel=1e-3)
    engine = Engine([tmp_path], 1 << 30, CPU)
    for sampler in ("Euler", "DPM++ 2M SDE", "UniPC", "DDIM", "LCM"):
        assert torch.isfinite(latents_of(engine, request(sampler=sampler))).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_reads_v_as_it_reads_epsilon(name: str) -> None:
    """A network that says the same in v as in epsilon leads to the same picture."""

    def epsilon(x: Tensor, _t: Tensor) -> Tensor:
        return torch.tanh(x) * 0.7 + 0.1

    run = SamplerRun(name, 6)
    plain = run(epsilon)
    alphas = run.alphas_cumprod

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        sigma = NoiseLevels.of(alphas).sigma(t.float()).reshape(-1, 1, 1, 1)
        signal = (1 + sigma**2).rsqrt()
        noise = epsilon(x, t)
        return signal * noise - sigma * signal * (x - sigma * signal * noise) / signal

    rounds = name in {"LCM", "UniPC"}  # timesteps, UniPC those of v only, as in the WebUI
    assert off(run(velocity, velocity=True), plain) < (5e-2 if rounds else 1e-3)
