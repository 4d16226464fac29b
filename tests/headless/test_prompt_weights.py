"""Prompts of the headless engine: chunks, weights, schedules and guidance."""

import pytest
import torch

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.load import (
    Networks,
    load_pipeline,
)
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.chunks import chunks_of
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from tests.support import control_files as files
from tests.support.tiny_engine import CPU, EDGES, LOOK, contexts_of, differ, request, same


def encoder_of(networks: Networks) -> PromptEncoder:
    return PromptEncoder(text_encoders=networks.text_encoders)


def test_a_short_prompt_is_encoded_as_diffusers_does(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    pipeline = load_pipeline(engine.store.resolve("ctrlgen-tiny"), engine.store, CPU)
    theirs, negative = pipeline.encode_prompt("a red star", torch.device("cpu"), 1, True, "b")
    mine = encoder_of(networks).encode(["a red star", "b"])
    assert torch.allclose(mine[0].states, theirs, atol=1e-5)
    assert torch.allclose(mine[1].states, negative, atol=1e-5)


@pytest.mark.parametrize(("letters", "chunks"), [(0, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_a_long_prompt_takes_more_chunks(engine: Engine, letters: int, chunks: int) -> None:
    networks = engine.load("ctrlgen-tiny")
    long, short = encoder_of(networks).encode(["a " * letters, "b"])
    assert long.states.shape == (1, 77 * chunks, files.CONTEXT)
    assert short.states.shape == (1, 77, files.CONTEXT)


def test_the_end_of_a_long_prompt_counts(engine: Engine) -> None:
    words = "a " * 100
    first, second = (contexts_of(engine, request(prompt=words + end))[0] for end in ("b", "c"))
    assert not torch.allclose(first, second, atol=1e-3)


def test_weights_multiply_features_and_restore_their_mean(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    encoder = encoder_of(networks)
    plain, weighed = (each.states for each in encoder.encode(["a b c", "a (b:1.5) c"]))
    assert encoder.calls == 1
    weights = torch.ones(77)
    [chunk] = chunks_of("a b c", networks.tokenizer)
    [wanted] = chunks_of("a (b:1.5) c", networks.tokenizer)
    assert wanted.ids == chunk.ids
    weights[[k for k, weight in enumerate(wanted.weights) if weight == 1.5]] = 1.5
    expected = plain * weights[None, :, None]
    expected = expected * plain.mean() / expected.mean()
    assert torch.allclose(weighed, expected, atol=1e-5)
    assert sum(weight == 1.5 for weight in wanted.weights) >= 1


def test_break_begins_another_chunk_and_a_near_comma_takes_its_words_along(engine: Engine) -> None:
    tokenizer = engine.load("ctrlgen-tiny").tokenizer
    first, second = chunks_of("a BREAK (b:2)", tokenizer)
    assert 2.0 not in first.weights
    assert 2.0 in second.weights
    assert len(chunks_of("a " * 75 + "BREAK", tokenizer)) == 1


SCHEDULED = "a (red:2@0 hold, 0.5@0.5) star"


def test_a_scheduled_weight_is_the_ordinary_prompt_at_every_step(engine: Engine) -> None:
    seen = contexts_of(engine, request(prompt=SCHEDULED, steps=4))
    early = contexts_of(engine, request(prompt="a (red:2) star", steps=4))
    late = contexts_of(engine, request(prompt="a (red:0.5) star", steps=4))
    assert len(seen) == 4
    for step, context in enumerate(seen):
        assert torch.equal(context, (early if step < 2 else late)[step])


def test_another_schedule_gives_another_picture_and_back_again_the_first(engine: Engine) -> None:
    first = engine.generate(request(LOOK, prompt=SCHEDULED))
    wanted = request(LOOK, prompt="a (red:2>0) star")
    scheduled, other = (contexts_of(engine, each) for each in (request(prompt=SCHEDULED), wanted))
    assert not torch.allclose(torch.stack(scheduled), torch.stack(other), atol=1e-3)
    assert same(first, engine.generate(request(LOOK, prompt=SCHEDULED)))


def test_a_named_weight_takes_the_requests_value(engine: Engine) -> None:
    named = request(prompt="a (red:glow=2) star", prompt_weights={"glow": "0.5>1"}, steps=3)
    assert same(engine.generate(named), engine.generate(request(prompt="a (red:0.5>1) star", steps=3)), 1)
    with pytest.raises(RequestError, match="nearest: glow") as caught:
        engine.generate(request(prompt="a (red:glow=2) star", prompt_weights={"glwo": 1}))
    assert caught.value.path == "$.prompt_weights.glwo"


def test_a_constant_guidance_schedule_is_the_number(engine: Engine) -> None:
    number = engine.generate(request(cfg_scale=5, steps=3))
    assert same(number, engine.generate(request(cfg_scale="5@0, 5@1", steps=3)), 1)
    assert differ(number, engine.generate(request(cfg_scale="30>1", steps=3)))


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M"])
def test_guidance_may_fall_to_one(engine: Engine, sampler: str) -> None:
    engine.generate(request(EDGES, LOOK, cfg_scale="4@0 hold, 1@0.5", steps=4, sampler=sampler))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a [cat:dog:0.4]", "WebUI only"),
        ("a [cat|dog]", "WebUI only"),
        ("<lora:x:0.5> a cat", "no LoRA named 'x'"),
        ("<hypernet:x:0.5> a cat", "not supported"),
        ("a (cat:1>2", "not closed"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_an_error(engine: Engine, prompt: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        engine.generate(request(prompt=prompt))
    assert caught.value.path == "$.prompt"
