"""Blends in the headless engine compared with hand-written denoising loops."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.blending.formulas import slerp
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.load import Networks
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.sampling.denoisers import TimestepDenoiser
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from lib_ctrlgen.headless.sampling.solvers.ddim import ddim_step, step_levels
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models

WORDS = ("a red star", "the blue ring")
STEPS, SCALE, SEED = 3, 4.0, 5
IP = f"{models.NAME}-ip"

Combine = Callable[[Tensor, Tensor, float], Tensor]  # u, deltas [K, 4, h, w], progress -> one delta


def made(engine: Engine, **fields: Any) -> Generation:
    payload = {
        "width": 64, "height": 64, "steps": STEPS, "sampler": "DDIM", "cfg_scale": SCALE, "seed": SEED,
        **fields,
    }  # fmt: skip
    return engine.generate(parse_request(payload, GenerationRequest))


def arrays(generation: Generation) -> list[np.ndarray]:
    return [np.asarray(image).astype(int) for image in generation.images]


def changed_share(one: np.ndarray, other: np.ndarray) -> float:
    """The part of the values that differ: processors disagree in the last bit of a few only."""
    return float(np.mean(one != other))


def gap(first: Generation, other: Generation) -> int:
    """The largest difference of their pictures, 0..255."""
    pairs = zip(arrays(first), arrays(other), strict=True)
    return max(int(np.abs(a - b).max()) for a, b in pairs)


def concepts(*weights: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": word, "weight": w, **more} for word, w in zip(WORDS, weights, strict=True)]


def half(*, left: bool) -> str:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    return encode_image(Image.fromarray(mask if left else 255 - mask))


def by_hand(engine: Engine, combine: Combine, texts: tuple[str, ...] = WORDS, seed: int = SEED) -> np.ndarray:
    """A picture [64, 64, 3]: every concept's prediction asked for alone, and combined by `combine`."""
    networks: Networks = engine.load(models.NAME)
    encoder = PromptEncoder(text_encoders=networks.text_encoders)
    features = [each.states for each in encoder.encode(["", *texts])]
    schedule: Any = TimestepDenoiser(
        unet=None, alphas_cumprod=alphas_cumprod_of(networks.noise), velocity=False
    )  # type: ignore[arg-type]
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for step, (t, _, start, end) in enumerate(step_levels(schedule, STEPS)):
            u, *found = (networks.unet(x, t, encoder_hidden_states=each).sample for each in features)
            deltas = torch.cat([c - u for c in found])
            guided = u + SCALE * combine(u, deltas, step / STEPS)
            x = ddim_step(x, guided, start, end)
        picture = networks.vae.decode(x / networks.vae.config.scaling_factor).sample
    return ((picture[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round().numpy().astype(int)


def test_prediction_with_schedules_and_masks(engine: Engine) -> None:
    blend = [
        {"prompt": WORDS[0], "weight": "1>0", "mask": half(left=True)},
        {"prompt": WORDS[1], "weight": "-0.5>1"},
    ]

    def combine(_u: Tensor, deltas: Tensor, progress: float) -> Tensor:
        left = torch.zeros(1, 8, 8)
        left[..., :4] = 1
        return (1 - progress) * left * deltas[0] + (1.5 * progress - 0.5) * deltas[1]

    found = made(engine, blend={"concepts": blend}, batch_size=2)
    for index in range(2):
        wanted = by_hand(engine, combine, seed=SEED + index)
        assert np.abs(arrays(found)[index] - wanted).max() <= 1


def test_a_masks_strength_over_the_steps(engine: Engine) -> None:
    blend = [{"prompt": WORDS[0], "mask": half(left=True), "mask_strength": "1>0"}, {"prompt": WORDS[1]}]

    def combine(_u: Tensor, deltas: Tensor, progress: float) -> Tensor:
        left = torch.full((1, 8, 8), progress)
        left[..., :4] = 1
        return left * deltas[0] + deltas[1]

    found = made(engine, blend={"concepts": blend})
    assert np.abs(arrays(found)[0] - by_hand(engine, combine)).max() <= 1


def test_perpendicular_in_the_loop(engine: Engine) -> None:
    def combine(_u: Tensor, deltas: Tensor, _progress: float) -> Tensor:
        n, v = deltas
        return n - 0.8 * (v - n * (n * v).sum() / n.square().sum())

    found = made(engine, blend={"mode": "perpendicular", "concepts": concepts(1, -0.8)})
    assert np.abs(arrays(found)[0] - by_hand(engine, combine)).max() <= 1


def test_and_prompts_are_the_same_sum(engine: Engine) -> None:
    text = f"{WORDS[0]} :0.7 AND {WORDS[1]} :-0.3"
    found = made(engine, prompt=text)
    assert gap(found, made(engine, blend={"concepts": concepts(0.7, -0.3)})) <= 1
    wanted = by_hand(engine, lambda _u, deltas, _p: 0.7 * deltas[0] - 0.3 * deltas[1])
    assert np.abs(arrays(found)[0] - wanted).max() <= 1
    alone = made(engine, prompt=f"{WORDS[0]} :0.5")
    assert np.abs(arrays(alone)[0] - by_hand(engine, lambda _u, deltas, _p: 0.5 * deltas[0])).max() <= 1
    assert gap(made(engine, prompt=f"{WORDS[0]} :1"), made(engine, prompt=WORDS[0])) <= 1


def test_normalised_weights(engine: Engine) -> None:
    blend = {"normalise": True, "concepts": concepts(3, 1)}
    assert gap(made(engine, blend=blend), made(engine, blend={"concepts": concepts(0.75, 0.25)})) <= 1
    masked = {"normalise": True, "concepts": concepts(3, 1, mask=half(left=True))}
    found = arrays(made(engine, blend=masked))[0]

    def combine(_u: Tensor, deltas: Tensor, _progress: float) -> Tensor:
        left = torch.zeros(1, 8, 8)
        left[..., :4] = 1
        return left * (0.75 * deltas[0] + 0.25 * deltas[1])

    assert np.abs(found - by_hand(engine, combine)).max() <= 1


@pytest.mark.parametrize("turn", ["lerp", "slerp"])
def test_embedding_ends_are_the_prompts_and_cost_one_row(engine: Engine, turn: str) -> None:
    for weights, prompt in (((1, 0), WORDS[0]), ((0, 1), WORDS[1])):
        blend = {"mode": "embedding", "interpolation": turn, "concepts": concepts(*weights)}
        assert gap(made(engine, blend=blend), made(engine, prompt=prompt)) <= 1
    long = {"prompt": ", ".join(["the blue ring"] * 30), "weight": "0>1"}
    blend = {"mode": "embedding", "interpolation": turn, "concepts": [{"prompt": WORDS[0]}, long]}
    assert len(made(engine, blend=blend, batch_size=2).images) == 2


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a", "DPM++ 2M"])
def test_the_ends_of_a_trajectory_are_plain_runs(engine: Engine, sampler: str) -> None:
    ends = [{"prompt": word, "seed": seed} for word, seed in zip(WORDS, (5, 9), strict=True)]
    blend = {"mode": "trajectory", "concepts": ends}
    strip = made(engine, blend=blend, batch_size=5, sampler=sampler)
    assert strip.seeds == (5, 5, 9, 9, 9)
    for index, prompt, seed in ((0, WORDS[0], 5), (4, WORDS[1], 9)):
        alone = made(engine, prompt=prompt, seed=seed, sampler=sampler)
        assert np.abs(arrays(strip)[index] - arrays(alone)[0]).max() <= 1
    free = made(engine, blend=blend | {"crossfeed": 0}, batch_size=5, sampler=sampler)
    assert np.abs(arrays(free)[0] - arrays(strip)[0]).max() <= 1  # attention is computed in another way
    assert changed_share(arrays(free)[2], arrays(strip)[2]) > 0.05


def test_even_spacing_moves_what_lies_between(engine: Engine) -> None:
    ends = [{"prompt": word, "seed": seed} for word, seed in zip(WORDS, (5, 9), strict=True)]
    rows = [
        arrays(made(engine, blend={"mode": "trajectory", "concepts": ends, "spacing": n}, batch_size=5))
        for n in (0, 3)
    ]
    for index in (0, 4):
        assert np.abs(rows[0][index] - rows[1][index]).max() <= 1  # rounding may differ
    gaps = [[np.sqrt(((a - b) ** 2).mean()) for a, b in pairwise(row)] for row in rows]
    assert np.ptp(gaps[1]) < np.ptp(gaps[0])


def test_seeds_mix_noises(engine: Engine) -> None:
    def mixed(*weights: float) -> Generation:
        parts = [{"seed": seed, "weight": w} for seed, w in zip((5, 9), weights, strict=True)]
        return made(engine, prompt=WORDS[0], blend={"mode": "seeds", "concepts": parts}, seed=77)

    assert gap(mixed(1, 0), made(engine, prompt=WORDS[0], seed=5)) <= 1
    assert gap(mixed(0, 1), made(engine, prompt=WORDS[0], seed=9)) <= 1
    networks: Networks = engine.load(models.NAME)
    noises = [torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(s)) for s in (5, 9)]
    seen: list[Tensor] = []
    hook = networks.unet.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    try:
        mixed(1, 3)
    finally:
        hook.remove()
    torch.testing.assert_close(seen[0][:1], slerp(*noises, 0.75))


def test_a_reference_picture_acts_on_its_concept_alone(engine: Engine) -> None:
    words = [{"prompt": WORDS[0], "image": files.data_url()}, {"prompt": WORDS[1], "weight": 0}]
    seen = {"concepts": words, "model": IP}
    other = {"concepts": [words[0] | {"image": files.data_url(seed=3)}, words[1]], "model": IP}
    assert gap(made(engine, blend=seen), made(engine, blend=other)) > 0
    swapped = {"concepts": [words[1] | {"weight": 1}, words[0] | {"weight": 0}], "model": IP}
    assert gap(made(engine, blend=swapped), made(engine, prompt=WORDS[1])) <= 1


def test_blends_with_units_leave_nothing_behind(engine: Engine) -> None:
    unit = {"model": f"{models.NAME}-edges", "image": files.data_url(), "weight": 2}
    plain = made(engine, prompt=WORDS[0])
    blend = {"concepts": concepts("1>0", "0>1", mask=half(left=True))}
    both = made(engine, blend=blend, units=[unit], batch_size=2)
    assert gap(both, made(engine, blend=blend, batch_size=2)) > 0
    with pytest.raises(KeyboardInterrupt):
        engine.generate(
            parse_request({"blend": blend, "width": 64, "height": 64, "steps": 2}, GenerationRequest),
            interrupt,
        )
    assert gap(made(engine, prompt=WORDS[0]), plain) == 0


def interrupt(_done: int, _total: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"prompt": "x", "blend": {"concepts": concepts(1, 1)}}, "$.blend.concepts"),
        ({"blend": {"concepts": concepts(1, 1, mask="x")}}, "$.blend.concepts[0].mask"),
        ({"blend": {"mode": "trajectory", "concepts": [{}, {}]}}, "$.batch_size"),
        (
            {"blend": {"mode": "seeds", "concepts": [{"image": "x"}, {"image": "x"}]}},
            "$.blend.concepts[0].image",
        ),
        ({"blend": {"model": "no", "concepts": concepts(1, 1, image=files.data_url())}}, "$.blend.model"),
        ({"blend": {"model": IP, "concepts": concepts(1, 1, image="x")}}, "$.blend.concepts[0].image"),
        (
            {"blend": {"model": f"{models.NAME}-edges", "concepts": concepts(1, 1, image=files.data_url())}},
            "$.blend.model",
        ),
        ({"negative_prompt": "a AND b"}, "$.negative_prompt"),
        ({"blend": {"concepts": [{"prompt": "[a:b:0.5]"}, {}]}}, "$.blend.concepts[0].prompt"),
    ],
)
def test_a_wrong_blend_makes_no_picture(engine: Engine, fields: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        made(engine, **fields)
    assert caught.value.path == path
