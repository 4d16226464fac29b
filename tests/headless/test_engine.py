"""The headless host: loading without a network, samplers, batches, guidance, and no trace left behind."""

import json
import shutil
import socket
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError, ModelError, RequestError
from lib_ctrlgen.headless.checkpoints.load import (
    Networks,
    Place,
    load_networks,
    load_pipeline,
    new_pipeline,
)
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder, chunks_of
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models

CPU = Place(device=torch.device("cpu"), dtype=torch.float16)
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    payload = {
        "prompt": "a red star",
        "width": 64,
        "height": 64,
        "steps": 2,
        "sampler": "Euler",
        "units": [{"image": files.data_url(), **unit} for unit in units],
        **fields,
    }
    return parse_request(payload, GenerationRequest)


EDGES = {"model": "ctrlgen-tiny-edges", "weight": 2}
LOOK = {"model": "ctrlgen-tiny-ip", "weight": 2}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def same(one: Generation, other: Generation, tolerance: int = 0) -> bool:
    pairs = zip(one.images, other.images, strict=True)
    return all(np.abs(pixels(a) - pixels(b)).max() <= tolerance for a, b in pairs)


def differ(one: Generation, other: Generation) -> bool:
    """Whether pictures differ by more than processors do, of which the last bit is another on each."""
    return not same(one, other, tolerance=2)


def hooks_of(network: nn.Module) -> int:
    return sum(
        len(found)
        for module in network.modules()
        for found in (module._forward_hooks, module._forward_pre_hooks)
    )


# Loading


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_single_file_gives_the_networks_it_was_written_from(tmp_path: Path, dtype: torch.dtype) -> None:
    source = models.networks()
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in models.checkpoint(source).items()}
    save_file(tensors, tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml")
    models.write_text(tmp_path / "text")
    loaded = load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)
    pairs = [
        (loaded.unet, source.unet),
        (loaded.vae, source.vae),
        (loaded.text_encoder, source.text),
    ]
    for mine, theirs in pairs:
        wanted = theirs.state_dict()
        assert mine.state_dict().keys() == wanted.keys()
        for key, value in mine.state_dict().items():
            assert not value.is_floating_point() or value.dtype == torch.float32
            assert torch.equal(value, wanted[key].to(dtype).to(value.dtype)), key
    assert loaded.vae.config.scaling_factor == 0.25
    assert not loaded.unet.training


def test_a_checkpoint_without_a_yaml_is_read_as_sd15(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    with pytest.raises(
        ModelError, match=r"'sd\.safetensors'.*does not fit its architecture.*, expected \(320"
    ):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_diffusers_folder_gives_the_same_pictures(root: Path, tmp_path: Path, engine: Engine) -> None:
    load_pipeline(root / "ctrlgen-tiny.safetensors", engine.store, CPU).save_pretrained(tmp_path / "folder")
    folder = Engine([tmp_path, root], 1 << 30, CPU)
    single = engine.generate(request(EDGES))
    assert same(folder.generate(request(EDGES, model="folder")), single, tolerance=1)
    assert same(folder.generate(request(EDGES, model=str(tmp_path / "folder"))), single, tolerance=1)


def test_a_loaded_model_is_not_read_again(root: Path) -> None:
    engine = Engine([root], 1 << 30, CPU)
    engine.generate(request(EDGES, LOOK))
    reads = engine.store.reads
    engine.generate(request(EDGES, LOOK, seed=5, sampler="DDIM"))
    assert engine.store.reads == reads


def without(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(prefix)}


def with_key(key: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {**tensors, key: torch.zeros(1)}


def with_channels(count: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    return lambda tensors: {**tensors, key: torch.zeros(32, count, 3, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("first_stage_model."), "it lacks an autoencoder: use a whole checkpoint"),
        (without("cond_stage_model."), "it lacks a CLIP text encoder"),
        (
            with_key("conditioner.embedders.0.model.x"),
            "it is an SDXL refiner: .*only SD1.5, SD2 and SDXL are",
        ),
        (with_key("model.diffusion_model.joint_blocks.0.x"), "it is an SD3 checkpoint"),
        (with_key("model.diffusion_model.double_blocks.0.x"), "it is a Flux checkpoint"),
        (
            with_key("conditioner.embedders.0.x"),
            "it lacks a CLIP text encoder and a second CLIP text encoder",
        ),
        (
            with_key("cond_stage_model.model.x"),
            "the text encoder FrozenCLIPEmbedder, where FrozenOpenCLIPEmbedder is supported",
        ),
        (with_channels(9), "it is an inpainting checkpoint with a 9-channel U-Net"),
        (with_channels(8), "it is an InstructPix2Pix checkpoint with a 8-channel U-Net"),
        (lambda _tensors: {"lora_unet_x": torch.zeros(1)}, "no Stable Diffusion checkpoint"),
        (without("model.diffusion_model.out.2"), "'the U-Net' does not fit .*missing conv_out"),
    ],
)
def test_what_is_no_whole_sd15_checkpoint_is_named(
    tmp_path: Path, root: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    shutil.copytree(root / "text", tmp_path / "text")
    shutil.copy(root / "ctrlgen-tiny.yaml", tmp_path / "sd.yaml")
    save_file(change(models.checkpoint(models.networks())), tmp_path / "sd.safetensors")
    with pytest.raises(ModelError, match=rf"'sd\.safetensors': .*{message}"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"parameterization": "x0"}, "the U-Net predicts 'x0': only epsilon and v_prediction are supported"),
        ({"unet_config": {"params": {"in_channels": 9}}}, "9-channel"),
        ({"unet_config": None}, "no SD1 configuration"),
        ({"cond_stage_config": {"target": "x.FrozenOpenCLIPEmbedder"}}, "FrozenOpenCLIPEmbedder"),
        (
            {
                "cond_stage_config": {
                    "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                    "params": {"version": "nowhere"},
                }
            },
            "names the text folder 'nowhere', and there is no .*config.json: put",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(
    tmp_path: Path, root: Path, params: dict[str, Any], message: str
) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml", **params)
    with pytest.raises(ModelError, match=rf"sd\.yaml.*{message}"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_broken_yaml_is_named(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    (tmp_path / "sd.yaml").write_text("model: [")
    with pytest.raises(ModelError, match=r"sd\.yaml is no SD1 configuration"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_missing_tokenizer_says_what_to_do(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml")
    models.write_text(tmp_path / "text")
    (tmp_path / "text" / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"the text folder .* lacks merges\.txt"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "is a StableDiffusion3Pipeline"),
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "takes nothing beside the text"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "needs v-prediction"),
        ("unet/config.json", {"in_channels": 9, "cross_attention_dim": 768}, "with a 9-channel U-Net"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "takes text_time beside the text"),
        ("vae/config.json", None, "cannot be "),
        ("vae/diffusion_pytorch_model.safetensors", None, "holds no weights"),
        ("text_encoder/model.safetensors", None, "holds no weights"),
        ("model_index.json", [], "is not a JSON object"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, root: Path, engine: Engine, file: str, content: Any, message: str
) -> None:
    folder = tmp_path / "folder"
    load_pipeline(root / "ctrlgen-tiny.safetensors", engine.store, CPU).save_pretrained(folder)
    (folder / file).unlink() if content is None else (folder / file).write_text(json.dumps(content))
    with pytest.raises(RequestError, match=rf"^\$\.model: .*folder.*{message}") as raised:
        Engine([tmp_path], 1 << 30, CPU).generate(request(model="folder"))
    assert "\n" not in str(raised.value)


def test_a_control_is_no_checkpoint(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.model: 'ctrlgen-tiny-edges\.safetensors': it is no Stable"):
        engine.generate(request(model="ctrlgen-tiny-edges"))


def test_an_unknown_model_lists_the_nearest(engine: Engine) -> None:
    with pytest.raises(
        RequestError, match=r"^\$\.model: no model named 'ctrlgen-tony'; nearest: .*ctrlgen-tiny"
    ):
        engine.generate(request(model="ctrlgen-tony"))


@pytest.mark.parametrize("model", ["../tiny", "/etc", "", "a\0b", "x" * 5000])
def test_folders_outside_the_model_folders_are_refused(engine: Engine, model: str) -> None:
    with pytest.raises(RequestError, match=r"^\$\.model"):
        engine.generate(request(model=model))


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_schedules_follow_the_webuis_clock(engine: Engine, name: str) -> None:
    steps = 4
    told: list[tuple[int, int]] = []
    made = engine.generate(
        request({**EDGES, "weight": "1>0"}, sampler=name, steps=steps), lambda *now: told.append(now)
    )
    total = made.plan.steps
    assert total == SAMPLERS[name].total_steps(steps)
    assert told[0] == (1, total)
    assert told[-1] == (total, total)
    assert all(before <= after for before, after in pairwise(told))
    assert made.plan.weights[0] == tuple(1 - i / total for i in range(total))
    assert made.images[0].size == (64, 64)  # that a unit acts: test_headless_stack.py, with every sampler


# Generation


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M", "DPM++ 2M SDE"])
def test_picture_i_of_a_batch_is_the_picture_of_seed_plus_i(engine: Engine, sampler: str) -> None:
    batch = engine.generate(request(EDGES, LOOK, seed=7, batch_size=3, sampler=sampler, steps=3))
    assert batch.seeds == (7, 8, 9)
    for seed, image in zip(batch.seeds, batch.images, strict=True):
        single = engine.generate(request(EDGES, LOOK, seed=seed, sampler=sampler, steps=3))
        assert np.abs(pixels(single.images[0]) - pixels(image)).max() <= 1


def test_the_same_request_gives_the_same_pictures(engine: Engine) -> None:
    wanted = request(EDGES, LOOK, sampler="Euler a", steps=3)
    assert same(engine.generate(wanted), engine.generate(wanted))


def calls_of(engine: Engine, wanted: GenerationRequest) -> list[dict[str, Any]]:
    """What the U-Net is called with."""
    unet = engine.load(wanted.model).unet
    calls: list[dict[str, Any]] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(dict(zip(("sample", "timestep"), args, strict=False)) | kwargs)

    handle = unet.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        engine.generate(wanted)
    finally:
        handle.remove()
    return calls


def states(engine: Engine, text: str) -> Tensor:
    loaded = engine.load("ctrlgen-tiny")
    ids = loaded.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        return loaded.text_encoder(ids)[0]


def test_guided_rows_are_the_unconditional_ones_then_the_conditional_ones(engine: Engine) -> None:
    first, *_ = calls_of(engine, request(prompt="ab", negative_prompt="cd", batch_size=2))
    assert first["sample"].shape == (4, 4, 8, 8)
    context = first["encoder_hidden_states"]
    expected = torch.cat([states(engine, "cd")] * 2 + [states(engine, "ab")] * 2)
    assert torch.allclose(context, expected, atol=1e-5)
    assert torch.equal(first["sample"][0], first["sample"][2])


def test_without_guidance_there_are_only_conditional_rows(engine: Engine) -> None:
    first, *_ = calls_of(engine, request(LOOK, EDGES, prompt="ab", cfg_scale=1, batch_size=2))
    assert torch.allclose(first["encoder_hidden_states"], torch.cat([states(engine, "ab")] * 2), atol=1e-5)


def test_a_session_without_units_is_diffusers_own_pipeline(engine: Engine) -> None:
    wanted = request(sampler="Euler", steps=4, cfg_scale=5)  # 4 even timesteps are whole ones
    scheduler = EulerDiscreteScheduler(**NOISE, timestep_spacing="linspace", steps_offset=1)
    theirs = new_pipeline(engine.load(wanted.model), scheduler)(
        "a red star",
        negative_prompt="",
        width=64,
        height=64,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
    ).images
    assert np.abs(pixels(theirs[0]) - pixels(engine.generate(wanted).images[0])).max() <= 1


@pytest.mark.parametrize("unit", [EDGES, {**LOOK, "weight": 6}])
def test_a_control_acts_inside_its_window_only(engine: Engine, unit: dict[str, Any]) -> None:
    plain = engine.generate(request(steps=4))
    assert differ(engine.generate(request({**unit, "guidance_end": 0.5}, steps=4)), plain)
    assert same(engine.generate(request({**unit, "weight": 0}, steps=4)), plain)
    assert same(engine.generate(request({**unit, "enabled": False}, steps=4)), plain)


def test_nothing_is_left_on_the_unet(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    before = engine.generate(request())
    engine.generate(request(EDGES, LOOK))
    assert hooks_of(networks.unet) == 0
    assert same(engine.generate(request()), before)


def test_nothing_is_left_on_the_unet_after_an_interrupt(engine: Engine) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    before = engine.generate(request(EDGES))
    with pytest.raises(KeyboardInterrupt):
        engine.generate(request(EDGES, LOOK), interrupt)
    assert hooks_of(engine.load("ctrlgen-tiny").unet) == 0
    assert same(engine.generate(request(EDGES)), before)


def test_control_maps_are_what_the_networks_see(engine: Engine) -> None:
    canny = {**EDGES, "preprocessor": "canny"}
    made = engine.generate(request({**EDGES, "enabled": False}, canny, LOOK, width=72, height=64, steps=1))
    assert [(item.index, item.model) for item in made.control_maps] == [
        (1, "ctrlgen-tiny-edges"),
        (2, "ctrlgen-tiny-ip"),
    ]
    assert made.control_maps[0].image.size == (72, 64)
    assert made.images[0].size == (72, 64)
    assert made.plan.labels == ("1 ctrlgen-tiny-edges", "2 ctrlgen-tiny-ip")


def test_a_wrong_unit_says_where(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.units\[1\]\.model: no model named 'eges'"):
        engine.generate(request(EDGES, {"model": "eges"}))


@pytest.mark.parametrize(("model", "index"), [("ctrlgen-tiny-edges", 1), ("ctrlgen-tiny-ip", 0)])
def test_a_damaged_control_makes_no_black_picture(root: Path, tmp_path: Path, model: str, index: int) -> None:
    tensors = load_file(root / "ControlNet" / f"{model}.safetensors")
    save_file(
        {name: torch.full_like(each, torch.nan) for name, each in tensors.items()},
        tmp_path / "nan.safetensors",
    )
    units = [EDGES, LOOK]
    units[index] = {**units[index], "model": "nan"}
    with pytest.raises(RequestError, match="'nan' the U-Net's prediction is not finite") as raised:
        Engine([root, tmp_path], 1 << 30, CPU).generate(request(*units))
    assert raised.value.path == f"$.units[{index}]"


@pytest.mark.parametrize(
    ("network", "units", "said"),
    [
        ("unet", [], "the latents are not finite"),
        ("unet", [EDGES], "step 1 of 2, also without any unit"),
        ("vae", [EDGES], "the VAE is damaged, or overflows in float32"),
    ],
    ids=["U-Net", "U-Net beside a unit", "VAE"],
)
def test_a_checkpoint_that_is_not_finite_is_blamed_itself(
    root: Path, network: str, units: list[dict[str, Any]], said: str
) -> None:
    engine = Engine([root], 1 << 30, CPU)
    networks = engine.load("ctrlgen-tiny")
    part = {"unet": networks.unet, "vae": networks.vae.decoder}[network]
    next(part.parameters()).data.fill_(torch.nan)
    with pytest.raises(HostError, match=said):
        engine.generate(request(*units))


def test_nothing_warns(engine: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's, about diffusers' code
        for sampler in ("Euler", "DPM++ 2M", "DPM++ SDE", "DDIM", "PLMS", "UniPC", "Heun", "LCM", "Restart"):
            engine.generate(request(EDGES, LOOK, sampler=sampler, steps=3))


# Prompts


def encoder_of(networks: Networks) -> PromptEncoder:
    return PromptEncoder(towers=networks.towers)


def test_a_short_prompt_is_encoded_as_diffusers_does(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    pipeline = load_pipeline(engine.store.resolve("ctrlgen-tiny"), engine.store, CPU)
    theirs, negative = pipeline.encode_prompt("a red star", torch.device("cpu"), 1, True, "b")
    mine = encoder_of(networks).encode(["a red star", "b"])
    assert torch.allclose(mine[0].states, theirs, atol=1e-6)
    assert torch.allclose(mine[1].states, negative, atol=1e-6)


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
    assert torch.allclose(weighed, expected, atol=1e-6)
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
    assert same(engine.generate(named), engine.generate(request(prompt="a (red:0.5>1) star", steps=3)))
    with pytest.raises(RequestError, match="nearest: glow") as caught:
        engine.generate(request(prompt="a (red:glow=2) star", prompt_weights={"glwo": 1}))
    assert caught.value.path == "$.prompt_weights.glwo"


def test_a_constant_guidance_schedule_is_the_number(engine: Engine) -> None:
    number = engine.generate(request(cfg_scale=5, steps=3))
    assert same(number, engine.generate(request(cfg_scale="5@0, 5@1", steps=3)))
    assert differ(number, engine.generate(request(cfg_scale="30>1", steps=3)))


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M"])
def test_guidance_may_fall_to_one(engine: Engine, sampler: str) -> None:
    engine.generate(request(EDGES, LOOK, cfg_scale="4@0 hold, 1@0.5", steps=4, sampler=sampler))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a [cat:dog:0.4]", "WebUI only"),
        ("a [cat|dog]", "WebUI only"),
        ("<lora:x:0.5> a cat", "WebUI only"),
        ("a (cat:1>2", "not closed"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_an_error(engine: Engine, prompt: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        engine.generate(request(prompt=prompt))
    assert caught.value.path == "$.prompt"


def contexts_of(engine: Engine, wanted: GenerationRequest) -> list[torch.Tensor]:
    """The conditional features of every U-Net call."""
    network = engine.load(wanted.model).unet
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["encoder_hidden_states"].chunk(2)[1].clone())

    with network.register_forward_pre_hook(keep, with_kwargs=True):
        engine.generate(wanted)
    return seen
