"""SD2 and SDXL without the WebUI, against diffusers' own pipelines on the same networks."""

import copy
import dataclasses
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
)
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.headless import kinds
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.load import Place, load_networks
from lib_ctrlgen.headless.prompts import PromptEncoder
from lib_ctrlgen.headless.samplers import SAMPLERS, make_scheduler
from lib_ctrlgen.headless.sampling import walked
from lib_ctrlgen.images import to_hint
from lib_ctrlgen.spec import GenerationRequest, parse_request
from lib_ctrlgen.stack import alike
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.unet import DiffusersUNet
from tests import control_files as files
from tests import family_models as families
from tests import headless_models as models
from tests import lora_files as lora
from tests import test_lllite as lllite

Change: TypeAlias = Callable[[dict[str, Tensor], dict[str, Any]], object]

CPU = Place(device=torch.device("cpu"), dtype=torch.float32)
FAMILIES: dict[str, Any] = {
    "sd2": (families.sd2, families.sd2_tensors, families.sd2_pipeline, families.SD2_YAML),
    "sdxl": (families.sdxl, families.sdxl_tensors, families.sdxl_pipeline, families.SDXL_YAML),
}
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single file and a folder of each family."""
    folder = tmp_path_factory.mktemp("families")
    for name, (source, tensors, pipeline, params) in FAMILIES.items():
        made = source()
        families.write(folder / name, name, tensors(made), params)
        pipeline(made, folder / name / "tokenizers").save_pretrained(folder / f"{name}-folder")
        save_file(ldm(controlnet(name)), folder / name / f"{name}-edges.safetensors")
    own = folder / "sdxl"
    lora.save(lllite_file()[0], own / "sdxl-lines.safetensors")
    save_file(t2i().state_dict(), own / "sdxl-sketch.safetensors")
    write_others(own)
    return folder


def controlnet(name: str) -> Any:
    return files.controlnet(3, **(families.SDXL if name == "sdxl" else families.SD2))


def ldm(network: Any) -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in files.to_ldm(network.state_dict()).items()}


def t2i() -> Any:
    return files.t2i_adapter("xl")


def lllite_file() -> tuple[dict[str, Tensor], Any]:
    sites = lllite.sites_of()
    return lora.lllite_tensors(sites, 4), sites


def write_others(folder: Path) -> None:
    """An IP-Adapter with its vision tower, and a ControlLoRA."""
    unet = files.unet(**families.SDXL)
    shape = DiffusersUNet(unet).shape
    files.save_vision(folder / "clip_vision" / "vision")
    width = families.SDXL["cross_attention_dim"]
    image = files.random_weights(ImageProjection(40, width, 4), 4).state_dict()
    random = torch.Generator().manual_seed(6)
    tensors = {f"image_proj.{key.replace('image_embeds.', 'proj.')}": value for key, value in image.items()}
    for place, hidden in enumerate(shape.attention_hidden):
        for part in "kv":
            name = f"ip_adapter.{2 * place + 1}.to_{part}_ip.weight"
            tensors[name] = torch.randn(hidden, width, generator=random) / 8
    lora.save(tensors, folder / "sdxl-ip.safetensors")
    lora.save(
        lora.lora_tensors(lora.encoder(unet), shape.residual_channels, 5), folder / "sdxl-lora.safetensors"
    )


def hooks_of(network: nn.Module) -> int:
    modules = list(network.modules())
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in modules)


@pytest.fixture(scope="module")
def engine(root: Path) -> Engine:
    return Engine([root / "sd2", root / "sdxl", root], 1 << 30, CPU)


EDGES = {"model": "sdxl-edges", "image": files.data_url(64, 96), "weight": 2}


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    payload = {
        "model": "sdxl",
        "prompt": "a red star",
        "negative_prompt": "blue",
        "width": 64,
        "height": 96,
        "steps": 3,
        "sampler": "DDIM",
        "cfg_scale": 5,
        "units": [{"image": files.data_url(64, 96), **unit} for unit in units],
        **fields,
    }
    return parse_request(payload, GenerationRequest)


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image).astype(int)


def latents_of(engine: Engine, *requests: GenerationRequest) -> Tensor:
    """The last latents of the engine, [B, 4, h, w]."""
    networks = engine.load(requests[0].model)
    units = engine.units(requests, networks)
    return walked(requests, networks, units, engine.encoder(networks)).latents


def theirs(pipeline: Any, wanted: GenerationRequest, **more: Any) -> Tensor:
    """The last latents of a pipeline of diffusers."""
    found: Tensor = pipeline(
        wanted.prompt,
        negative_prompt=wanted.negative_prompt,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.cfg_scale(0.0),
        generator=torch.Generator().manual_seed(wanted.seed),
        output_type="latent",
        **more,
    ).images
    return found


def off(mine: Tensor, other: Tensor) -> float:
    return float((mine - other).abs().max() / other.abs().max().clamp(min=1))


def changed(root: Path, folder: Path, name: str, change: Change) -> Path:
    """A copy of a family's single file, changed: `change(tensors, params)`. The file's path."""
    shutil.copytree(root / name, folder, dirs_exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = load_file(path)
    params = copy.deepcopy(FAMILIES[name][3])
    change(tensors, params)
    families.write(folder, name, tensors, params)
    return path


# Loading


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_file_gives_the_networks_it_was_written_from(root: Path, name: str) -> None:
    source = FAMILIES[name][0]()
    loaded = load_networks(root / name / f"{name}.safetensors", ModelStore([root], 1 << 30), CPU)
    mine = loaded.unet, loaded.vae, *(tower.encoder for tower in loaded.towers)
    for one, other in zip(mine, (source.unet, source.vae, *source.texts), strict=True):
        ours, wanted = one.state_dict(), other.state_dict()
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[key], wanted[key]) for key in ours)
    assert loaded.vae.config.scaling_factor == 0.25


V: dict[str, Change] = {
    "sd2": lambda _tensors, params: params.update(parameterization="v"),
    "sdxl": lambda _tensors, params: params["denoiser_config"]["params"]["scaling_config"].update(
        target="sgm.modules.diffusionmodules.denoiser_scaling.VScaling"
    ),
}
KEYED: dict[str, Change] = {"sdxl": lambda tensors, _params: tensors.update(v_pred=torch.zeros(0))}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pictures_are_diffusers_own(root: Path, tmp_path: Path, name: str, prediction: str) -> None:
    pipeline = FAMILIES[name][2](FAMILIES[name][0](), tmp_path / "tokenizers", prediction)
    pipeline.save_pretrained(tmp_path / "models" / "folder")
    changes = [V[name], *([KEYED[name]] if name in KEYED else [])] if prediction != "epsilon" else [nothing]
    for number, change in enumerate(changes):
        changed(root, tmp_path / "models" / str(number), name, change)
    engine = Engine([tmp_path / "models"], 1 << 30, CPU)
    wanted = theirs(pipeline, request())
    for model in ("folder", *(f"{number}/{name}" for number in range(len(changes)))):
        mine = latents_of(engine, request(model=model))
        assert mine.shape == (1, 4, 12, 8)
        assert off(mine, wanted) < TOLERANCE


def nothing(_tensors: Any, _params: Any) -> None: ...


def test_epsilon_and_v_differ_and_so_do_prompts(engine: Engine) -> None:
    for name in FAMILIES:
        first = latents_of(engine, request(model=name))
        assert off(latents_of(engine, request(model=name, prompt="a blue ring")), first) > 1e-2


def test_a_picture_of_sdxl_is_decoded_as_diffusers_does(engine: Engine, tmp_path: Path) -> None:
    wanted = request()
    pipeline = families.sdxl_pipeline(families.sdxl(), tmp_path)
    latents = theirs(pipeline, wanted) / 0.25
    with torch.no_grad():
        other = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample)[0]
    mine = engine.generate(wanted).images[0]
    assert mine.size == (64, 96)
    assert np.abs(np.asarray(mine).astype(int) - np.asarray(other)).max() <= 1


def test_half_precision_keeps_sdxls_autoencoder_and_the_sampler_in_float32(
    root: Path, tmp_path: Path
) -> None:
    place = Place(device=torch.device("cpu"), dtype=torch.bfloat16)
    engine = Engine([root / "sdxl", root], 1 << 30, place)
    for model in ("sdxl", "sdxl-folder"):
        networks = engine.load(model)
        assert (networks.unet.dtype, networks.vae.dtype) == (torch.bfloat16, torch.float32)
        latents = latents_of(engine, request(prompt="a AND b", model=model))
        assert latents.dtype == torch.float32
        assert engine.generate(request(model=model)).images[0].size == (64, 96)
        assert hooks_of(networks.unet) == 0


@pytest.mark.parametrize("v", [False, True])
def test_what_a_bare_sd2_file_predicts_is_found_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, v: bool
) -> None:
    def bias(tensors: dict[str, Tensor], _params: Any) -> None:
        tensors["model.diffusion_model.out.2.bias"] += -3.0 if v else 0.0

    path = changed(root, tmp_path, "sd2", bias)
    published = path.with_suffix(".yaml").rename(tmp_path / "published.yaml")
    kind = dataclasses.replace(kinds.SD2, published=published)
    monkeypatch.setattr("lib_ctrlgen.headless.single_file.kind_of", lambda _tensors: kind)
    networks = load_networks(path, ModelStore([tmp_path], 1 << 30), CPU)
    assert networks.noise["prediction_type"] == ("v_prediction" if v else "epsilon")


def drop(key: str) -> Change:
    return lambda tensors, _params: tensors.pop(key)


def put(key: str, value: Tensor | None = None) -> Change:
    return lambda tensors, _params: tensors.update({key: torch.zeros(1) if value is None else value})


def stage(number: int, **params: Any) -> Change:
    def change(_tensors: Any, yaml: dict[str, Any]) -> None:
        yaml["conditioner_config"]["params"]["emb_models"][number]["params"].update(params)

    return change


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
SECOND = "conditioner.embedders.1.model."


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "sd2",
            put("depth_model.x"),
            "it is an SD2 depth checkpoint: .*only SD1.5, SD2 and SDXL are supported",
        ),
        ("sd2", put(FIRST, torch.zeros(32, 9, 3, 3)), "an inpainting checkpoint with a 9-channel U-Net"),
        ("sdxl", put(FIRST, torch.zeros(32, 8, 3, 3)), "an InstructPix2Pix checkpoint"),
        ("sdxl", put("edm_mean"), "it is a Playground checkpoint"),
        ("sdxl", put("ztsnr"), "zero terminal SNR needs v-prediction"),
        ("sdxl", drop(f"{SECOND}text_projection"), "the text encoder.*missing text_projection"),
        ("sdxl", drop(f"{SECOND}ln_final.bias"), "the text encoder.*missing .*final_layer_norm"),
        (
            "sd2",
            drop("cond_stage_model.model.token_embedding.weight"),
            "the text encoder.*missing .*token_emb",
        ),
        ("sdxl", stage(0, layer_idx=2), "takes layer 2 of the text encoder 'text' with 2"),
        ("sdxl", stage(1, layer="last"), "SDXL's text comes from the last layer but one"),
        ("sdxl", stage(1, arch="nowhere"), "names the text folder 'nowhere', and there is no .*config.json"),
        ("sdxl", stage(4, outdim=16), "sizes of 8 and 16 numbers"),
        ("sdxl", put(f"{SECOND}text_projection", torch.zeros(32, 23)), "text_projection.* has shape"),
        (
            "sdxl",
            lambda _t, yaml: [stage(k, outdim=4)(_t, yaml) for k in (2, 3, 4)],
            "takes a vector of 72 numbers",
        ),
        (
            "sd2",
            lambda _t, yaml: yaml.update(cond_stage_config=models.CONFIG["cond_stage_config"]),
            "FrozenCLIP",
        ),
        (
            "sdxl",
            lambda _t, yaml: yaml["denoiser_config"]["params"]["scaling_config"].update(
                target="x.EDMScaling"
            ),
            "predicts 'EDMScaling'",
        ),
        (
            "sdxl",
            lambda _t, yaml: yaml["denoiser_config"]["params"]["discretization_config"].update(
                target="x.EDM"
            ),
            "asks for the noise EDM, where LegacyDDPMDiscretization is supported",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    root: Path, tmp_path: Path, name: str, change: Change, message: str
) -> None:
    path = changed(root, tmp_path, name, change)
    with pytest.raises(ModelError, match=rf"'{name}\.safetensors': .*({message})"):
        load_networks(path, ModelStore([tmp_path], 1 << 30), CPU)


def test_a_refiner_is_named(root: Path, tmp_path: Path) -> None:
    def refine(tensors: dict[str, Tensor], _params: Any) -> None:
        for key in [key for key in tensors if key.startswith("conditioner.")]:
            value = tensors.pop(key)
            if key.startswith(SECOND):
                tensors[key.replace("embedders.1", "embedders.0")] = value

    with pytest.raises(ModelError, match="it is an SDXL refiner: "):
        load_networks(changed(root, tmp_path, "sdxl", refine), ModelStore([tmp_path], 1 << 30), CPU)


# Noise


def test_zero_terminal_snr_is_the_webuis(root: Path, tmp_path: Path) -> None:
    both: Change = lambda tensors, _params: tensors.update(v_pred=torch.zeros(0), ztsnr=torch.zeros(0))  # noqa: E731
    path = changed(root, tmp_path, "sdxl", both)
    noise = load_networks(path, ModelStore([tmp_path], 1 << 30), CPU).noise
    plain = make_scheduler("Euler", 5, {**families.NOISE}, []).alphas_cumprod
    roots = plain.double().sqrt()
    wanted = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    wanted[-1] = 4.8973451890853435e-08
    sigmas = ((1 - wanted) / wanted).sqrt()
    for name in SAMPLERS:
        try:
            scheduler = make_scheduler(name, 5, noise, [0])
        except RequestError as error:
            pytest.skip(error.message)
        found = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
        assert torch.allclose(found.double(), sigmas, rtol=1e-3)
    assert float(make_scheduler("Euler", 5, noise, []).sigmas[0]) == pytest.approx(4518.7, rel=1e-3)
    engine = Engine([tmp_path], 1 << 30, CPU)
    assert torch.isfinite(latents_of(engine, request(sampler="Euler"))).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_reads_v_as_it_reads_epsilon(name: str) -> None:
    """A network that says the same in v as in epsilon leads to the same picture."""
    ends = []
    for prediction in ("epsilon", "v_prediction"):
        try:
            scheduler = make_scheduler(name, 6, {**families.NOISE, "prediction_type": prediction}, [0])
        except RequestError as error:
            pytest.skip(error.message)
        torch.manual_seed(0)
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * scheduler.init_noise_sigma
        noise = {"generator": torch.Generator().manual_seed(2)}
        for t in scheduler.timesteps:
            given = scheduler.scale_model_input(x, t)
            alpha = interpolated(scheduler.alphas_cumprod, float(t))
            epsilon = torch.tanh(given) * 0.7 + 0.1
            clean = (given - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
            v = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * clean
            options = noise if "generator" in inspect.signature(scheduler.step).parameters else {}
            out = epsilon if prediction == "epsilon" else v
            x = scheduler.step(out, t, x, **options).prev_sample
        ends.append(x)
    assert off(*ends) < 2e-2  # multistep schedulers round their timesteps


def interpolated(alphas: Tensor, t: float) -> Tensor:
    """alpha at a timestep between two, sigma's logarithm being linear."""
    logs = (((1 - alphas) / alphas).sqrt()).log()
    low = min(int(t), len(alphas) - 2)
    sigma = (logs[low] + (t - low) * (logs[low + 1] - logs[low])).exp()
    return 1 / (sigma**2 + 1)


# Text


def chunk(tokenizer: Any, words: str, pad: int) -> Tensor:
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    return torch.tensor([[512, *ids, 513, *[pad] * (75 - len(ids))]])


def opened(tensors: dict[str, Tensor], prefix: str, config: dict[str, Any]) -> families.OpenClip:
    network = families.OpenClip(config)
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    left = [key for key in own if key not in network.state_dict()]
    assert left in (["attn_mask", "logit_scale"], ["logit_scale"])
    network.load_state_dict({key: value for key, value in own.items() if key not in left})
    return network.eval()


def test_sd2_reads_the_last_layer_but_one_normed_and_pads_with_zero(root: Path, engine: Engine) -> None:
    tensors = load_file(root / "sd2" / "sd2.safetensors")
    network = opened(tensors, "cond_stage_model.model.", {**families.OPENED, "num_hidden_layers": 3})
    for model in ("sd2", "sd2-folder"):
        networks = engine.load(model)
        (mine,) = PromptEncoder(towers=networks.towers).encode(["a red star!"])
        with torch.no_grad():
            wanted = network(chunk(networks.tokenizer, "a red star!", 0))[1]
        assert off(mine.states, wanted) < TOLERANCE
        assert mine.pooled is None
        assert 256 in chunk(networks.tokenizer, "a red star!", 0) or model == "sd2-folder"


def sdxl_text(root: Path, tokenizer: Any, words: str) -> tuple[Tensor, Tensor, Tensor]:
    """CLIP's states, OpenCLIP's states and OpenCLIP's summary of a short text."""
    network = opened(load_file(root / "sdxl" / "sdxl.safetensors"), SECOND, families.SECOND)
    with torch.no_grad():
        first = families.sdxl().texts[0](chunk(tokenizer, words, 513), output_hidden_states=True)
        states, _, pooled = network(chunk(tokenizer, words, 0))
    return first.hidden_states[1], states, pooled


def test_sdxl_reads_both_towers_side_by_side(root: Path, engine: Engine) -> None:
    networks = engine.load("sdxl")
    (mine,) = PromptEncoder(towers=networks.towers).encode(["a red star!"])
    first, second, pooled = sdxl_text(root, networks.tokenizer, "a red star!")
    assert mine.pooled is not None
    assert off(mine.states, torch.cat([first, second], 2)) < TOLERANCE
    assert off(mine.pooled, pooled) < TOLERANCE


def test_weights_and_breaks_of_sdxl(root: Path, engine: Engine) -> None:
    networks = engine.load("sdxl")
    (mine,) = PromptEncoder(towers=networks.towers).encode(["a BREAK (b:1.5) c"])
    assert mine.pooled is not None
    assert mine.states.shape == (1, 154, SDXL_WIDTH)
    *_, pooled = sdxl_text(root, networks.tokenizer, "a")
    assert off(mine.pooled, pooled) < TOLERANCE
    towers = sdxl_text(root, networks.tokenizer, "b c")[:2]
    weights = torch.ones(1, 77, 1)
    weights[0, 1] = 1.5
    weighed = [states * weights * (states.mean() / (states * weights).mean()) for states in towers]
    assert off(mine.states[:, 77:], torch.cat(weighed, 2)) < TOLERANCE


SDXL_WIDTH = families.SDXL["cross_attention_dim"]


def calls_of(engine: Engine, *wanted: GenerationRequest) -> list[dict[str, Any]]:
    """What the U-Net is called with."""
    calls: list[dict[str, Any]] = []
    unet = engine.load(wanted[0].model).unet
    forward = type(unet).forward

    def keep(sample: Tensor, timestep: Any, **kwargs: Any) -> Any:
        calls.append({"sample": sample, "timestep": timestep, **kwargs})
        return forward(unet, sample, timestep, **kwargs)

    unet.forward = keep
    try:
        latents_of(engine, *wanted)
    finally:
        del unet.forward
    return calls


def test_only_an_empty_negative_prompt_is_zeros(engine: Engine) -> None:
    encoder = PromptEncoder(towers=engine.load("sdxl").towers)
    for negative in ("", " ", "blue"):
        call = calls_of(engine, request(negative_prompt=negative, prompt=""))[0]
        (row,) = encoder.encode([negative])
        states, pooled = call["encoder_hidden_states"], call["added_cond_kwargs"]["text_embeds"]
        assert row.pooled is not None
        assert torch.equal(states[:1], row.states * (negative != ""))
        assert torch.equal(pooled[:1], row.pooled * (negative != ""))
        assert pooled[1].abs().max() > 0
        assert call["added_cond_kwargs"]["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 2
    (call, *_) = calls_of(engine, request(model="sd2", negative_prompt=""))
    assert call["encoder_hidden_states"][0].abs().max() > 0
    assert call.get("added_cond_kwargs") is None


def test_parts_and_schedules_bring_their_summaries(engine: Engine) -> None:
    encoder = PromptEncoder(towers=engine.load("sdxl").towers)
    wanted = request(prompt="a (b:1@0 hold, 0.5@0.5) AND c :0.5", batch_size=2, steps=2)
    calls = calls_of(engine, wanted)
    for call, weight in zip(calls, ("1", "0.5"), strict=True):
        rows = encoder.encode(["blue", f"a (b:{weight})", "c"])
        order = [rows[0], rows[0], *rows[1:], *rows[1:]]
        assert torch.equal(call["encoder_hidden_states"], torch.cat([row.states for row in order]))
        pooled = torch.cat([row.pooled for row in order if row.pooled is not None])
        assert torch.equal(call["added_cond_kwargs"]["text_embeds"], pooled)
        assert call["added_cond_kwargs"]["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 6


def test_mixed_texts_mix_their_summaries(engine: Engine) -> None:
    blend = {
        "mode": "embedding",
        "concepts": [{"prompt": "a", "weight": 0.25}, {"prompt": "b", "weight": 0.5}],
    }
    call = calls_of(engine, request(blend=blend, prompt=""))[0]
    empty, one, two = PromptEncoder(towers=engine.load("sdxl").towers).encode(["", "a", "b"])
    for found, parts in (
        (call["encoder_hidden_states"][1:], [each.states for each in (empty, one, two)]),
        (call["added_cond_kwargs"]["text_embeds"][1:], [each.pooled for each in (empty, one, two)]),
    ):
        e, a, b = parts
        assert off(found, e + 0.25 * (a - e) + 0.5 * (b - e)) < TOLERANCE


# Controls


@pytest.mark.parametrize("name", FAMILIES)
def test_a_controlnet_is_diffusers_own(engine: Engine, tmp_path: Path, name: str) -> None:
    wanted = request({"model": f"{name}-edges", "weight": 0.7}, model=name)
    network = controlnet(name)
    if name == "sdxl":
        parts = families.sdxl_parts(families.sdxl(), tmp_path)
        pipeline: Any = StableDiffusionXLControlNetPipeline(
            **parts, controlnet=network, scheduler=families.scheduler()
        )
    else:
        base = families.sd2_pipeline(families.sd2(), tmp_path)
        pipeline = StableDiffusionControlNetPipeline(
            **base.components, controlnet=network, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, controlnet_conditioning_scale=0.7)
    mine = latents_of(engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(engine, request(model=name))) > 1e-2
    assert hooks_of(engine.load(name).unet) == 0


class Written(nn.Module):
    """A linear layer that reads x + 0.8 up(relu(mid([embedding, relu(down(x))])))."""

    def __init__(self, linear: nn.Module, weights: dict[str, Tensor], hint: Tensor) -> None:
        super().__init__()
        self.linear, self.weights, self.embedding = linear, weights, lllite.embedding_of(weights, hint)

    def forward(self, x: Tensor) -> Tensor:
        low = lllite.affine(self.weights, "down.0", x).relu()
        both = torch.cat([self.embedding.expand(len(x), -1, -1), low], 2)
        middle = lllite.affine(self.weights, "mid.0", both).relu()
        return self.linear(x + 0.8 * lllite.affine(self.weights, "up.0", middle))  # type: ignore[no-any-return]


def test_lllite_is_written_out_layers_in_diffusers_own_pipeline(engine: Engine, tmp_path: Path) -> None:
    source = families.sdxl()
    tensors, sites = lllite_file()
    hint = to_hint(files.picture(64, 96)) * 2 - 1
    names = {ldm: ours for ldm, ours, *_ in lllite.BLOCKS}
    for name in sites:
        block, _, rest = name.partition(".transformer_blocks")
        path = f"{names[block]}.transformer_blocks{rest}"
        parent, _, leaf = path.rpartition(".")
        stem = f"lllite_unet_{name.replace('.', '_')}."
        own = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
        setattr(source.unet.get_submodule(parent), leaf, Written(source.unet.get_submodule(path), own, hint))
    wanted = request({"model": "sdxl-lines", "weight": 0.8})
    mine = latents_of(engine, wanted)
    assert off(mine, theirs(families.sdxl_pipeline(source, tmp_path), wanted)) < TOLERANCE
    assert off(mine, latents_of(engine, request())) > 1e-3


def test_a_t2i_adapter_is_diffusers_own(engine: Engine, tmp_path: Path) -> None:
    parts = families.sdxl_parts(families.sdxl(), tmp_path)
    del parts["add_watermarker"]
    pipeline = StableDiffusionXLAdapterPipeline(**parts, adapter=t2i(), scheduler=families.scheduler())
    pipeline.set_progress_bar_config(disable=True)
    wanted = request({"model": "sdxl-sketch", "weight": 0.7})
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, adapter_conditioning_scale=0.7)
    mine = latents_of(engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(engine, request())) > 1e-3


@pytest.mark.parametrize("unit", [{"model": "sdxl-ip"}, {"model": "sdxl-lora"}])
def test_other_controls_act_and_leave_nothing(engine: Engine, unit: dict[str, Any]) -> None:
    before = latents_of(engine, request())
    assert off(latents_of(engine, request(unit)), before) > 1e-3
    assert off(latents_of(engine, request({**unit, "weight": 0})), before) == 0
    assert hooks_of(engine.load("sdxl").unet) == 0


def test_a_control_of_another_family_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.units\[0\]\.model: .*context 64.*context 96"):
        engine.generate(request({"model": "sd2-edges"}))


# Batches


CELLS: dict[str, list[dict[str, Any]]] = {
    "windows": [{"units": [EDGES | {"guidance_end": end}]} for end in (0, 0.34, 0.67)],
    "prompts": [
        {"prompt": "a (red:glow=1) star AND ring :0.5", "prompt_weights": {"glow": glow}}
        for glow in (1, "1>3", 4)
    ],
    "mixed texts": [
        {
            "prompt": "",
            "blend": {"mode": "embedding", "concepts": [{"prompt": "a", "weight": w}, {"prompt": "b"}]},
        }
        for w in (0, "0>1", 2)
    ],
    "seeds": [
        {"seed": seed, "negative_prompt": "", "cfg_scale": scale} for seed, scale in ((0, 3), (5, "3>1"))
    ],
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M"])
def test_cells_together_are_as_alone(engine: Engine, kind: str, sampler: str) -> None:
    cells = [request(**{"sampler": sampler, **fields}) for fields in CELLS[kind]]
    assert all(alike(cell) == alike(cells[0]) for cell in cells)
    together = latents_of(engine, *cells)
    alone = torch.cat([latents_of(engine, cell) for cell in cells])
    assert off(together, alone) < TOLERANCE
    assert off(together[:1], together[-1:]) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_every_mode_of_a_blend_makes_a_picture(engine: Engine, name: str) -> None:
    plain = latents_of(engine, request(model=name))
    for mode in ("prediction", "perpendicular", "saliency", "embedding", "seeds", "trajectory"):
        own = {"seed": 3} if mode in ("seeds", "trajectory") else {}
        blend = {
            "mode": mode,
            "concepts": [
                {"prompt": "" if mode == "seeds" else "a"},
                {**own, "prompt": "b" if mode != "seeds" else ""},
            ],
        }
        prompt = "a red star" if mode == "seeds" else ""
        pictures = 3 if mode == "trajectory" else 1
        made = latents_of(engine, request(model=name, prompt=prompt, blend=blend, batch_size=pictures))
        assert torch.isfinite(made).all()
        assert off(made[:1], plain) > 1e-3
