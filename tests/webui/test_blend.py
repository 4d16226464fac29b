"""What a blend changes on the WebUI's denoiser, noise and lists, and that all of it is restored."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.spec import parse_request
from tests.support.fake_webui import FakeWebUI, fresh


class Denoiser(nn.Module):
    def __init__(self, p: Any) -> None:
        super().__init__()
        self.p, self.step, self.total_steps = p, 0, 4
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        self.step += 1
        return x


@pytest.fixture
def blending(host: FakeWebUI) -> Any:
    return fresh("sampling.blending")


def blend(**fields: Any) -> Any:
    return parse_request({"blend": {"concepts": [{}, {}], **fields}}).blend


def test_a_running_samplers_latents_are_drawn_together(blending: Any) -> None:
    part = blending.Crossfeed(blend(mode="trajectory", crossfeed="1@0, 0@0.75"), 3)
    denoiser = Denoiser(SimpleNamespace())
    x = torch.randn(3, 4, 8, 8)
    start = x.clone()
    with part.batch() as follow:
        follow(SimpleNamespace(denoiser=denoiser))
        denoiser.step = 1
        denoiser(x)
        steps = Trajectory(pictures=3, concepts=2)
        torch.testing.assert_close(x, steps.crossfed(start, 2 / 3))
        assert torch.equal(x[[0, 2]], start[[0, 2]])
        denoiser.step, before = 3, x.clone()
        denoiser(x)
        assert torch.equal(x, before)
    assert "forward" not in vars(denoiser)


def test_the_second_pass_is_left_alone(blending: Any) -> None:
    part = blending.Crossfeed(blend(mode="trajectory"), 3)
    denoiser = Denoiser(SimpleNamespace(is_hr_pass=True))
    with part.batch() as follow:
        follow(SimpleNamespace(denoiser=denoiser))
        assert "forward" not in vars(denoiser)


def test_everything_comes_off_after_an_error(blending: Any) -> None:
    part = blending.Crossfeed(blend(mode="trajectory"), 3)
    denoiser = Denoiser(SimpleNamespace())
    batch = part.batch()
    batch.__enter__()(SimpleNamespace(denoiser=denoiser))
    assert "forward" in vars(denoiser)
    assert not batch.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "forward" not in vars(denoiser)


def test_noises_are_mixed_in_place(blending: Any) -> None:
    words = [{"seed": 5, "weight": 0}, {"seed": 9, "weight": 2}]
    part = blending.MixedLatents(blend(mode="seeds", concepts=words))
    noise = torch.zeros(2, 4, 8, 8)
    part.begin(SimpleNamespace(iteration=0), noise, noise)
    wanted = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(noise, torch.stack([wanted, wanted]))


def test_a_failure_at_the_beginning_stops_the_first_step(blending: Any) -> None:
    steps = __import__("lib_ctrlgen.webui.sampling.step_callbacks", fromlist=["StepwiseSample"])
    part = blending.MixedLatents(blend(mode="seeds", concepts=[{"image": "x"}, {"image": "x"}]))
    sample = steps.StepwiseSample(SimpleNamespace(iteration=0), [part])
    sample.begin(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8))
    with pytest.raises(RequestError, match="base64"):
        sample.begun(None)


def test_a_trajectorys_seeds_are_those_of_the_nearest_concepts(blending: Any) -> None:
    words = blend(mode="trajectory", concepts=[{"seed": 7}, {}])
    assert blending.blended_seeds(words, [1, 2, 3, 10, 11, 12], 3) == [7, 1, 1, 7, 10, 10]
    assert blending.blended_seeds(None, [1, 2], 1) == [1, 2]


def test_the_combiner_is_the_formula_for_pictures_of_unequal_parts(blending: Any) -> None:
    words = blend(
        mode="prediction", concepts=[{"prompt": "{prompt}", "weight": 2}, {"prompt": "c", "weight": -1}]
    )
    sources = blending.read_prompts([words], ["a", "a AND b :0.5"])
    combiner = blending.ConceptCombiner(words, sources, [{}], 0.0)
    x = torch.randn(7, 4, 8, 8)
    found = combiner(x, [[(0, 2.0), (1, -1.0)], [(2, 2.0), (3, 1.0), (4, -1.0)]], 2, 3.0)
    first = x[5] + 3 * (2 * (x[0] - x[5]) - (x[1] - x[5]))
    other = x[6] + 3 * (2 * (x[2] - x[6]) + (x[3] - x[6]) - (x[4] - x[6]))
    torch.testing.assert_close(found, torch.stack([first, other]), atol=1e-5, rtol=1e-5)


def test_a_map_spreads_over_batches_of_one_seed(host: FakeWebUI) -> None:
    sheets = fresh("sampling.sheets")
    words = blend(explore=3, concepts=[{}, {}, {}])
    p = SimpleNamespace(n_iter=1, batch_size=1, all_prompts=["a"], all_seeds=[4], all_hr_prompts=None)
    sheets.spread_map(p, words)
    assert (p.n_iter, p.all_prompts, p.all_seeds) == (9, ["a"] * 9, [4] * 9)
    with pytest.raises(RequestError) as caught:
        sheets.spread_map(SimpleNamespace(n_iter=2, batch_size=1), words)
    assert caught.value.path == "$.blend.explore"
