"""`<lora:...>` and embeddings in headless prompts, on the tiny model: weights, schedules, texts, records."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.outputs import infotext
from lib_ctrlgen.headless.sampling.chunks import chunks_of
from lib_ctrlgen.headless.sampling.embeddings import embeddings_for
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.request.batching import alike
from tests.support import lora_kinds as kinds
from tests.support.tiny_engine import CPU, EDGES, differ, request, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    made = Engine([tiny_folder(), folder], 1 << 30, CPU)
    networks = made.load("ctrlgen-tiny")
    unet = kinds.kohya(networks.unet, pattern=kinds.ATTENTION)
    text = kinds.kohya(networks.text_encoders[0].encoder, "te", pattern=kinds.TEXT, seed=1)
    (folder / "embeddings").mkdir()
    kinds.write(folder / "both.safetensors", unet | text, ss_output_name="an alias")
    kinds.write(folder / "unet.safetensors", unet)
    kinds.write(folder / "text.safetensors", text)
    random = kinds.Random(2)
    kinds.write(folder / "embeddings/mytoken.safetensors", {"emb_params": random(3, 64)})
    kinds.write(folder / "embeddings/other family.safetensors", {"emb_params": random(1, 768)})
    torch.save({"string_to_param": {"*": random(2, 64)}, "step": 3}, folder / "embeddings/mytoken long.pt")
    torch.save({"<token>": random(64)}, folder / "embeddings/learned.bin")
    kinds.write(folder / "embeddings/xl.safetensors", {"clip_l": random(1, 64), "clip_g": random(1, 64)})
    return made


def made(engine: Engine, prompt: str, *units: Any, **fields: Any) -> Generation:
    return engine.generate(request(*units, prompt=prompt, steps=4, **fields))


def test_a_lora_acts_and_leaves_the_networks_as_they_were(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    modules = [networks.unet, networks.text_encoders[0].encoder]
    before = [{key: value.clone() for key, value in each.state_dict().items()} for each in modules]
    plain, with_lora = made(engine, "a star"), made(engine, "a star<lora:both:0.8>")
    assert differ(plain, with_lora)
    assert same(made(engine, "a star"), plain)
    assert same(made(engine, "a star<lora:an alias:0.8>"), with_lora)
    assert same(made(engine, "a star<lora:both:0>"), plain)
    parts = made(engine, "a star<lora:unet:0.8><lora:text:0.8>")
    assert same(parts, with_lora, 1)
    for each, values in zip(modules, before, strict=True):
        assert all(torch.equal(value, values[key]) for key, value in each.state_dict().items())
        assert not any(module._forward_hooks for module in each.modules())


def test_a_schedule_is_the_weight_of_each_step(engine: Engine) -> None:
    number = made(engine, "a star<lora:both:0.8>")
    assert same(made(engine, "a star<lora:both:0.8@0, 0.8@1>"), number)
    assert differ(made(engine, "a star<lora:both:0.8>0>"), number)
    assert same(made(engine, "a star<lora:unet:1>0 in 0..0>"), made(engine, "a star"))
    text = made(engine, "a star<lora:text:1@0 hold, 0.2@0.5>")
    assert differ(text, made(engine, "a star<lora:text:1>"))
    assert same(text, made(engine, "a star<lora:text:1@0 hold, 0.2@0.5:0>"))
    negative = made(engine, "a star<lora:both:-0.5>0.5>")
    assert differ(negative, number)


def test_requests_set_weights_by_name_and_are_not_batched_over_them(engine: Engine) -> None:
    named = [
        request(prompt="a star<lora:both:1>", prompt_weights={"lora:both": weight})
        for weight in ("0.8", "1>0")
    ]
    assert alike(named[0]) != alike(named[1])
    assert same(engine.generate(named[0]), engine.generate(request(prompt="a star<lora:both:0.8>")))
    assert same(engine.generate(named[1]), engine.generate(request(prompt="a star<lora:both:1>0>")))
    cells = engine.together(
        [named[0], request(prompt="a star<lora:both:1>", prompt_weights={"lora:both": "0.8"}, seed=3)]
    )
    assert same(cells[0], engine.generate(named[0]), 1)


def test_loras_go_with_units_blends_and_batches(engine: Engine) -> None:
    one = made(engine, "a star<lora:both:0.5>", EDGES)
    assert differ(one, made(engine, "a star", EDGES))
    pair = made(engine, "a star<lora:both:0.5>", EDGES, batch_size=2)
    assert len(pair.images) == 2
    concepts = [{"prompt": "{prompt}, red"}, {"prompt": "a square"}]
    blend = {"concepts": concepts}
    assert differ(made(engine, "a star<lora:both:0.5>", blend=blend), made(engine, "a star", blend=blend))
    with pytest.raises(RequestError, match="acts on the whole picture") as caught:
        made(engine, "a star", blend={"concepts": [{"prompt": "{prompt}<lora:both:1>"}, {"prompt": "b"}]})
    assert caught.value.path == "$.blend.concepts[0].prompt"


def test_hashes_are_recorded(engine: Engine) -> None:
    found = made(engine, "a mytoken star<lora:both:0.5>", negative_prompt="learned")
    text = infotext(found.request, 1, networks=found.networks)
    assert 'Lora hashes: "both: ' in text
    names = [each.split(": ")[0] for each in found.networks["TI hashes"].split(", ")]
    assert sorted(names) == ["learned", "mytoken"]
    assert all(len(each.split(": ")[1]) == 12 for each in found.networks["TI hashes"].split(", "))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a<lora:bot:1>", "no LoRA named 'bot'; nearest: both"),
        ("a<lora:both:1:lbw=ALL>", "'lbw=ALL' is not supported"),
        ("a<lora:both:1><lora:both:1>", "occurs twice"),
        ("a<hypernet:x:1>", "'<hypernet:x:1>' is not supported"),
    ],
)
def test_what_cannot_be_applied_is_an_error(engine: Engine, prompt: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        made(engine, prompt)
    assert caught.value.path == "$.prompt"
    assert said in caught.value.message


def test_a_negative_prompt_has_no_tags(engine: Engine) -> None:
    found = made(engine, "a star", negative_prompt="blue <lora:both:1>")
    assert any("<lora:both:1> is read as words" in each for each in found.warnings)
    assert not found.networks


def chunk_of(engine: Engine, text: str) -> Any:
    networks = engine.load("ctrlgen-tiny")
    return chunks_of(text, networks.tokenizer, None, embeddings_for(networks, engine.store))


def test_embeddings_are_found_by_the_longest_name(engine: Engine) -> None:
    for text, names in (
        ("a mytoken star", ["mytoken"]),
        ("a MyToken long star", ["mytoken long"]),
        ("a (mytoken:1.2), [learned] star BREAK mytoken", ["mytoken", "learned", "mytoken"]),
        ("a mytokens star, other family, xl", []),
    ):
        found = [each.name for chunk in chunk_of(engine, text) for _, each in chunk.embeddings]
        assert found == names
    [chunk] = chunk_of(engine, "a (mytoken:1.2) star")
    assert chunk.ids[2:5] == (0, 0, 0)
    assert chunk.weights[1:6] == (1, 1.2, 1.2, 1.2, 1)
    first, second = chunk_of(engine, "a " * 74 + "mytoken")
    assert not first.embeddings
    assert second.embeddings[0][0] == 1


def test_embeddings_replace_the_tokens_vectors(engine: Engine, folder: Path) -> None:
    """An embedding that holds the vectors of words gives exactly what the words give."""
    networks = engine.load("ctrlgen-tiny")
    tokens = networks.tokenizer("red circle", add_special_tokens=False)["input_ids"]
    table = networks.text_encoders[0].encoder.get_input_embeddings().weight.detach().float()
    kinds.write(folder / "embeddings/xyzzy.safetensors", {"emb_params": table[tokens]})
    for prompt, words in (
        ("a xyzzy", "a red circle"),
        ("a (xyzzy:1.5>0.5) AND xyzzy :0.5", "a (red circle:1.5>0.5) AND red circle :0.5"),
    ):
        assert same(made(engine, prompt), made(engine, words))
    assert differ(made(engine, "a xyzzy"), made(engine, "a"))


def test_an_embedding_for_another_family_is_words_with_a_warning(engine: Engine) -> None:
    found = made(engine, "a star, other family")
    assert any(
        "'other family' is read as words: its vectors have width 768" in each for each in found.warnings
    )


def test_the_plan_shows_the_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.yaml"
    job.write_text('prompt: "a star <lora:both:0.5:1>0>"\nsteps: 4\nsampler: Euler\n')
    main(["plan", str(job)])
    shown = capsys.readouterr().out
    assert "<lora:both>" in shown
    assert "<lora:both> text" in shown
    assert "1 0.75 0.5 0.25" in shown.replace(",", "") or "0.25" in shown
