"""The text conditioning of SD2 and SDXL compared with OpenCLIP's network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from lib_ctrlgen.request.spec import GenerationRequest
from tests.support import checkpoint_models as checkpoints
from tests.support.checkpoint_engine import TOLERANCE, latents_of, off, request
from tests.support.open_clip import OpenClip

pytest_plugins = ["tests.support.checkpoint_engine"]


def chunk(tokenizer: Any, words: str, pad: int) -> Tensor:
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    return torch.tensor([[512, *ids, 513, *[pad] * (75 - len(ids))]])


def opened(tensors: dict[str, Tensor], prefix: str, config: dict[str, Any]) -> OpenClip:
    network = OpenClip(config)
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    left = [key for key in own if key not in network.state_dict()]
    assert left in (["attn_mask", "logit_scale"], ["logit_scale"])
    network.load_state_dict({key: value for key, value in own.items() if key not in left})
    return network.eval()


def test_sd2_reads_the_last_layer_but_one_normed(checkpoint_root: Path, checkpoint_engine: Engine) -> None:
    tensors = load_file(checkpoint_root / "sd2" / "sd2.safetensors")
    network = opened(tensors, "cond_stage_model.model.", {**checkpoints.OPENED, "num_hidden_layers": 3})
    for model in ("sd2", "sd2-folder"):
        networks = checkpoint_engine.load(model)
        (mine,) = PromptEncoder(text_encoders=networks.text_encoders).encode(["a red star!"])
        with torch.no_grad():
            wanted = network(chunk(networks.tokenizer, "a red star!", 0))[1]
        assert off(mine.states, wanted) < TOLERANCE
        assert mine.pooled is None
        assert not networks.text_encoders[0].whole  # its end is no picture's likeness
        assert 256 in chunk(networks.tokenizer, "a red star!", 0) or model == "sd2-folder"


OPENED = "conditioner.embedders.1.model."


def sdxl_text(checkpoint_root: Path, tokenizer: Any, words: str) -> tuple[Tensor, Tensor, Tensor]:
    """CLIP's states, OpenCLIP's states and OpenCLIP's summary of a short text."""
    network = opened(load_file(checkpoint_root / "sdxl" / "sdxl.safetensors"), OPENED, checkpoints.SECOND)
    with torch.no_grad():
        first = checkpoints.sdxl().texts[0](chunk(tokenizer, words, 513), output_hidden_states=True)
        states, _, pooled = network(chunk(tokenizer, words, 0))
    return first.hidden_states[1], states, pooled


@pytest.mark.parametrize("model", ["sdxl", "sdxl-folder"])
def test_sdxl_reads_both_towers_side_by_side(
    checkpoint_root: Path, checkpoint_engine: Engine, model: str
) -> None:
    networks = checkpoint_engine.load(model)
    assert networks.text_encoders[0].whole
    (mine,) = PromptEncoder(text_encoders=networks.text_encoders).encode(["a red star!"])
    first, second, pooled = sdxl_text(checkpoint_root, networks.tokenizer, "a red star!")
    assert mine.pooled is not None
    assert off(mine.states, torch.cat([first, second], 2)) < TOLERANCE
    assert off(mine.pooled, pooled) < TOLERANCE


def test_weights_and_breaks_of_sdxl(checkpoint_root: Path, checkpoint_engine: Engine) -> None:
    networks = checkpoint_engine.load("sdxl")
    (mine,) = PromptEncoder(text_encoders=networks.text_encoders).encode(["a BREAK (b:1.5) c"])
    assert mine.pooled is not None
    assert mine.states.shape == (1, 154, SDXL_WIDTH)
    *_, pooled = sdxl_text(checkpoint_root, networks.tokenizer, "a")
    assert off(mine.pooled, pooled) < TOLERANCE
    text_encoders = sdxl_text(checkpoint_root, networks.tokenizer, "b c")[:2]
    weights = torch.ones(1, 77, 1)
    weights[0, 1] = 1.5
    weighed = [states * weights * (states.mean() / (states * weights).mean()) for states in text_encoders]
    assert off(mine.states[:, 77:], torch.cat(weighed, 2)) < TOLERANCE


SDXL_WIDTH = checkpoints.SDXL["cross_attention_dim"]


def calls_of(checkpoint_engine: Engine, *wanted: GenerationRequest) -> list[dict[str, Any]]:
    """What the U-Net is called with."""
    calls: list[dict[str, Any]] = []
    unet = checkpoint_engine.load(wanted[0].model).unet
    forward = type(unet).forward

    def keep(sample: Tensor, timestep: Any, **kwargs: Any) -> Any:
        calls.append({"sample": sample, "timestep": timestep, **kwargs})
        return forward(unet, sample, timestep, **kwargs)

    unet.forward = keep
    try:
        latents_of(checkpoint_engine, *wanted)
    finally:
        del unet.forward
    return calls


def test_only_an_empty_negative_prompt_is_zeros(checkpoint_engine: Engine) -> None:
    encoder = PromptEncoder(text_encoders=checkpoint_engine.load("sdxl").text_encoders)
    for negative in ("", " ", "blue"):
        call = calls_of(checkpoint_engine, request(negative_prompt=negative, prompt=""))[0]
        (row,) = encoder.encode([negative])
        states, pooled = call["encoder_hidden_states"], call["added_cond_kwargs"]["text_embeds"]
        assert row.pooled is not None
        assert torch.equal(states[:1], row.states * (negative != ""))
        assert torch.equal(pooled[:1], row.pooled * (negative != ""))
        assert pooled[1].abs().max() > 0
        assert call["added_cond_kwargs"]["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 2
    (call, *_) = calls_of(checkpoint_engine, request(model="sd2", negative_prompt=""))
    assert call["encoder_hidden_states"][0].abs().max() > 0
    assert call.get("added_cond_kwargs") is None


def test_parts_and_schedules_bring_their_summaries(checkpoint_engine: Engine) -> None:
    encoder = PromptEncoder(text_encoders=checkpoint_engine.load("sdxl").text_encoders)
    wanted = request(prompt="a (b:1@0 hold, 0.5@0.5) AND c :0.5", batch_size=2, steps=2)
    calls = calls_of(checkpoint_engine, wanted)
    for call, weight in zip(calls, ("1", "0.5"), strict=True):
        rows = encoder.encode(["blue", f"a (b:{weight})", "c"])
        order = [rows[0], rows[0], *rows[1:], *rows[1:]]
        assert torch.equal(call["encoder_hidden_states"], torch.cat([row.states for row in order]))
        pooled = torch.cat([row.pooled for row in order if row.pooled is not None])
        assert torch.equal(call["added_cond_kwargs"]["text_embeds"], pooled)
        assert call["added_cond_kwargs"]["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 6


def test_mixed_texts_mix_their_summaries(checkpoint_engine: Engine) -> None:
    blend = {
        "mode": "embedding",
        "concepts": [{"prompt": "a", "weight": 0.25}, {"prompt": "b", "weight": 0.5}],
    }
    call = calls_of(checkpoint_engine, request(blend=blend, prompt=""))[0]
    empty, one, two = PromptEncoder(text_encoders=checkpoint_engine.load("sdxl").text_encoders).encode(
        ["", "a", "b"]
    )
    for found, parts in (
        (call["encoder_hidden_states"][1:], [each.states for each in (empty, one, two)]),
        (call["added_cond_kwargs"]["text_embeds"][1:], [each.pooled for each in (empty, one, two)]),
    ):
        e, a, b = parts
        assert off(found, e + 0.25 * (a - e) + 0.5 * (b - e)) < TOLERANCE
