"""Prompts of different lengths in one batch get the conditioning that the WebUI gives them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.noise_config import alphas_cumprod_of
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.outputs import infotext
from lib_ctrlgen.headless.sampling.conditions import Conditions, Prompts, parse_prompts
from lib_ctrlgen.headless.sampling.denoisers import TimestepDenoiser
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder, prompt_edit
from lib_ctrlgen.headless.sampling.solvers.ddim import ddim_step, step_levels
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support import style_adapter as style
from tests.support.checkpoint_engine import request as family_request

pytest_plugins = ["tests.support.checkpoint_engine"]

STEPS, SCALE, SEED = 3, 20.0, 5
LONG = "a red star " * 60
LENGTHS = [
    ("a red circle BREAK a blue background", "grey"),
    ("a red circle", "grey BREAK dark BREAK blurred"),
    ("a red circle BREAK b", "grey BREAK the dark sky BREAK e"),
    ("a red circle AND a star BREAK on blue BREAK at night :0.5", "grey"),
    (f"{LONG} AND a circle :-0.4", "grey"),
    ("a (red:1.3) circle AND b BREAK c", "d BREAK e BREAK f"),
]


def request(**fields: Any) -> GenerationRequest:
    plain = {"width": 64, "height": 64, "steps": STEPS, "sampler": "DDIM", "cfg_scale": SCALE, "seed": SEED}
    return parse_request({**plain, **fields}, GenerationRequest)


def stacked(rows: Sequence[Tensor]) -> list[Tensor]:
    """As `stack_conds` does it: the last vector of the shorter ones again and again. Rows [1, T, X]."""
    longest = max(row.shape[1] for row in rows)
    return [torch.cat([row, *[row[:, -1:]] * (longest - row.shape[1])], 1) for row in rows]


def by_hand(engine: Engine, texts: Sequence[str], weights: Sequence[float], *, pad: bool) -> np.ndarray:
    """Every row asked alone with its own number of tokens; `texts` are the negative one, then the parts."""
    networks = engine.load(models.NAME)
    encoder = PromptEncoder(text_encoders=networks.text_encoders)
    negative, *parts = (each.states for each in encoder.encode(texts))
    rows = [negative, *stacked(parts)]
    if pad:
        [empty] = encoder.encode([""])
        longest = max(row.shape[1] for row in rows)
        rows = [torch.cat([row, *[empty.states] * ((longest - row.shape[1]) // 77)], 1) for row in rows]
    nothing: Any = None
    schedule = TimestepDenoiser(nothing, alphas_cumprod_of(networks.noise), velocity=False)
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        for t, _, start, end in step_levels(schedule, STEPS):
            u, *found = (networks.unet(x, t, encoder_hidden_states=row).sample for row in rows)
            delta = sum(weight * (c - u) for weight, c in zip(weights, found, strict=True))
            x = ddim_step(x, u + SCALE * delta, start, end)
        picture = networks.vae.decode(x / networks.vae.config.scaling_factor).sample
    return ((picture[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round().numpy().astype(int)


@pytest.mark.parametrize(("prompt", "negative"), LENGTHS)
def test_each_row_keeps_its_length(engine: Engine, prompt: str, negative: str) -> None:
    parts = [part.rpartition(" :") if " :" in part else (part, "", "1") for part in prompt.split(" AND ")]
    texts, weights = [text for text, _, _ in parts], [float(weight) for _, _, weight in parts]
    wanted = {pad: by_hand(engine, [negative, *texts], weights, pad=pad) for pad in (False, True)}
    for pad, picture in wanted.items():
        made = engine.generate(request(prompt=prompt, negative_prompt=negative, pad_cond_uncond=pad))
        assert np.abs(np.asarray(made.images[0]).astype(int) - picture).max() <= 1
    assert np.abs(wanted[False] - wanted[True]).max() > 1


def test_schedules_and_concepts_keep_their_lengths(engine: Engine) -> None:
    """Weights do not change lengths, so that a batch keeps its shape over the steps."""
    wanted = engine.generate(
        request(prompt="(a:1>0) BREAK b AND c :0>1", negative_prompt="d BREAK e BREAK f")
    )
    blend = {"mode": "embedding", "concepts": [{"prompt": "a BREAK b", "weight": "1>0"}, {"prompt": "c"}]}
    mixed = engine.generate(request(blend=blend, negative_prompt="d BREAK e BREAK f"))
    assert wanted.images[0].size == mixed.images[0].size == (64, 64)


def test_mixed_concepts_are_padded_with_the_empty_prompt_and_the_negative_one_stays(engine: Engine) -> None:
    encoder = PromptEncoder(text_encoders=engine.load(models.NAME).text_encoders)
    blend = {"mode": "embedding", "concepts": [{"prompt": "a BREAK b"}, {"prompt": "c", "weight": 0.5}]}
    now = parse_prompts(request(blend=blend, negative_prompt="d")).at(0.0, encoder)
    empty, long, short, negative = (row.states for row in encoder.encode(["", "a BREAK b", "c", "d"]))
    twice = torch.cat([empty, empty], 1)
    wanted = twice + (long - twice) + 0.5 * (torch.cat([short, empty], 1) - twice)
    torch.testing.assert_close(now.rows.states, wanted, atol=1e-5, rtol=0)
    assert torch.equal(now.uncond.states, torch.cat([negative, negative], 1))
    assert now.copies == 1


def conditions(engine: Engine, prompt: str, negative: str) -> Conditions:
    encoder = PromptEncoder(text_encoders=engine.load(models.NAME).text_encoders)
    return parse_prompts(request(prompt=prompt, negative_prompt=negative)).at(0.0, encoder)


def test_lengths_meet_at_their_least_common_multiple(engine: Engine) -> None:
    now = conditions(engine, "a BREAK b", "c BREAK d BREAK e")
    assert (now.rows.length, now.uncond.length, now.copies) == (6 * 77, 6 * 77, 3)
    same = conditions(engine, "a BREAK b", "c BREAK d")
    assert (same.rows.length, same.copies) == (2 * 77, 1)


def test_an_empty_negative_prompt_of_sdxl_is_zeros_of_one_chunk(checkpoint_engine: Engine) -> None:
    encoder = PromptEncoder(text_encoders=checkpoint_engine.load("sdxl").text_encoders)
    [empty] = encoder.encode([""])
    for pad, behind in ((False, torch.zeros_like(empty.states)), (True, empty.states)):
        wanted = family_request(prompt="a BREAK b", negative_prompt="", pad_cond_uncond=pad)
        now = parse_prompts(wanted).at(0.0, encoder)
        assert torch.equal(now.uncond.states, torch.cat([torch.zeros_like(empty.states), behind], 1))
        assert now.uncond.pooled is not None
        assert now.uncond.pooled.abs().max() == 0


def test_a_style_adapter_weighs_the_same_beside_repeated_text(tmp_path: Path) -> None:
    files.save_vision(tmp_path / "tower", hidden=style.WIDTH)
    save_file(style.tensors(), tmp_path / "style.safetensors")
    store = ModelStore([tmp_path], 1 << 30)
    units = load_units([style.unit(weight=0.6)], Target(store=store, shape=style.SHAPE))
    unet, call = files.unet(), files.call(2)
    x, context = call.inputs.x, call.inputs.context
    found = {}
    for copies in (1, 3):
        clock = CountingClock(1, 1, guided=True, copies=copies)
        with torch.no_grad(), ControlSession(DiffusersUNet(unet), units, clock):
            found[copies] = unet(x, 7, context.repeat(1, copies, 1)).sample
    torch.testing.assert_close(found[3], found[1], atol=1e-5, rtol=0)
    with torch.no_grad():
        plain = unet(x, 7, context).sample
    assert float((found[1] - plain).abs().max()) > 0.01


@pytest.mark.parametrize("text", ["a (cat:1.2.3)", "(wait:...)", "b AND (:.)"])
def test_a_weight_that_is_no_number_is_refused_at_its_field(engine: Engine, text: str) -> None:
    with pytest.raises(RequestError, match="is no number") as caught:
        engine.generate(request(prompt=text))
    assert caught.value.path == "$.prompt"
    if "AND" not in text:
        with pytest.raises(RequestError, match="is no number") as caught:
            engine.generate(request(negative_prompt=text))
        assert caught.value.path == "$.negative_prompt"
    blend = {"concepts": [{"prompt": "a"}, {"prompt": text}]}
    with pytest.raises(RequestError) as caught:
        engine.generate(request(blend=blend))
    assert caught.value.path == "$.blend.concepts[1].prompt"


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("a [b:c:0.4] d", "[b:c:0.4]"),
        ("[[b]: -2]", "[[b]: -2]"),
        ("[(b:1.2)|c]", "[(b:1.2)|c]"),
        ("[a:(b:1.2):1e-1]", "[a:(b:1.2):1e-1]"),
        (r"\[a|b\] [see: 3 cats] {a|b} (a:0.5) [b]", None),
        ("a] [b (c:0.5)", None),
    ],
)
def test_a_prompt_edit_is_found_as_the_webui_finds_it(text: str, edit: str | None) -> None:
    assert prompt_edit(text) == edit


def test_the_infotext_says_that_texts_were_padded() -> None:
    assert "Pad conds: True" in infotext(request(pad_cond_uncond=True), 1)
    assert "Pad conds" not in infotext(request(), 1)
    assert Prompts(negative=parse_prompts(request()).negative, positive=(), named={}).pad is False
