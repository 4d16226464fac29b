"""Phrases are encoded alike in both hosts (CLIP's pooled output of the phrase alone), and boxes act."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.phrases import phrases_of
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import gligen_files as gligen
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.tiny_engine import differ, hooks_of, same

PHRASE = "a red circle, (left:1.5)"  # its brackets are letters here


@pytest.fixture
def text_encoder(engine: Engine) -> Any:
    return engine.load("ctrlgen-tiny").text_encoders[0]


def pooled(text_encoder: Any, text: str) -> Tensor:
    """What transformers gives for the text alone, without padding."""
    ids = torch.tensor([text_encoder.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        found: Tensor = text_encoder.encoder(ids).pooler_output[0]
    return found


@pytest.fixture
def loaded(host: FakeWebUI, text_encoder: Any) -> Any:
    """The WebUI's encoder around the same network; `seen` has the LoRAs that were on while it ran."""
    tokenizer = text_encoder.tokenizer
    embedder = SimpleNamespace(
        wrapped=SimpleNamespace(transformer=text_encoder.encoder),
        tokenize=lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"],
        id_start=tokenizer.bos_token_id,
        id_end=tokenizer.eos_token_id,
        hijack=SimpleNamespace(fixes=[["left over"]]),
    )
    host.model.cond_stage_model = embedder
    return fresh("sampling.phrases").LoadedPhrases()


def test_both_hosts_give_clips_pooled_output(engine: Engine, loaded: Any, text_encoder: Any) -> None:
    wanted = pooled(text_encoder, PHRASE)
    headless = phrases_of(engine.load("ctrlgen-tiny"), "key")
    assert headless is not None
    for phrases in (headless, loaded):
        assert (phrases.encode(PHRASE) - wanted).abs().max() <= 1e-5
        assert (phrases.encode("a tree") - wanted).abs().max() > 1e-2
    assert (headless.origin(), loaded.origin()) == ("key", "fake.safetensors")


def test_a_phrase_of_too_many_tokens_is_refused(engine: Engine, loaded: Any) -> None:
    for phrases in (phrases_of(engine.load("ctrlgen-tiny"), "key"), loaded):
        with pytest.raises(ModelError, match="at most 75"):
            phrases.encode("word " * 400)


def test_loras_of_the_webui_are_left_out_and_come_back(
    loaded: Any, text_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = [SimpleNamespace(name="style")]
    networks, seen = SimpleNamespace(loaded_networks=on), []
    monkeypatch.setitem(sys.modules, "networks", networks)  # type: ignore[arg-type]
    with text_encoder.encoder.register_forward_pre_hook(
        lambda *_: seen.append(list(networks.loaded_networks))
    ):
        loaded.encode(PHRASE)
    assert seen == [[]]
    assert networks.loaded_networks is on


def test_another_text_encoder_is_refused(host: FakeWebUI) -> None:
    with pytest.raises(ModelError, match=r"SD1\.x"):
        fresh("sampling.phrases").LoadedPhrases().encode("a cat")


def test_boxes_change_a_picture_while_the_schedule_lasts(root: Path, engine: Engine) -> None:
    network = engine.load("ctrlgen-tiny").unet
    path = gligen.save(gligen.tensors_for(network), root / "boxes.safetensors")
    engine.store.refresh()

    def made(**unit: Any) -> Any:
        units = [{"model": "boxes", "boxes": gligen.BOXES, **unit}] if unit else []
        payload = {
            "prompt": "a star",
            "width": 64,
            "height": 64,
            "steps": 4,
            "sampler": "Euler",
            "units": units,
        }
        return engine.generate(parse_request(payload, GenerationRequest))

    plain, some = made(), made(weight="1 in 0..0.3")
    assert differ(plain, some)
    assert same(plain, made(weight=0))
    assert same(plain, made())
    assert hooks_of(network) == 0
    assert some.plan.weights[0] == (1, 1, 0, 0)
    path.unlink()
