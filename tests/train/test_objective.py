"""The loss against diffusers' own scheduler and the papers' formulas."""

import pytest
import torch
from diffusers import DDPMScheduler

from lib_ctrlgen.train.objective import Objective, squared_error

NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_and_target_are_those_of_diffusers(prediction: str) -> None:
    arguments = {**NOISE, "prediction_type": prediction}
    scheduler = DDPMScheduler(**arguments)
    objective = Objective.of(arguments, 5.0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    drawn = objective.noised(latents, generator)
    assert torch.allclose(drawn.noisy, scheduler.add_noise(latents, drawn.noise, drawn.timesteps), atol=1e-5)
    v = scheduler.get_velocity(latents, drawn.noise, drawn.timesteps)
    wanted = v if prediction == "v_prediction" else drawn.noise
    assert torch.allclose(objective.target(latents, drawn), wanted, atol=1e-5)
    alphas = scheduler.alphas_cumprod[drawn.timesteps]
    snr = alphas / (1 - alphas)
    divisor = snr + 1 if prediction == "v_prediction" else snr
    expected = torch.minimum(snr, torch.tensor(5.0)) / divisor
    assert torch.allclose(objective.row_weights(drawn.timesteps), expected, rtol=1e-3)


def test_without_min_snr_all_timesteps_count_alike() -> None:
    objective = Objective.of({**NOISE, "prediction_type": "epsilon"}, 0.0, torch.device("cpu"))
    assert objective.row_weights(torch.tensor([0, 500, 999])).tolist() == [1, 1, 1]


def test_a_masked_loss_counts_only_inside() -> None:
    predicted, target = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    target[..., 0] = 3.0
    inside = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert squared_error(predicted, target, inside).item() == pytest.approx(9.0)
    assert squared_error(predicted, target, None).item() == pytest.approx(5.0)
