"""The session in a plain diffusers pipeline against diffusers' own ControlNet and IP-Adapter pipelines.

Both sides get the same weights: theirs as modules, ours as files through the store.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    MultiAdapter,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.models.clip_vision import MEAN, STD
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import control_files as files
from tests.support.networks import NoiseControl, TokenControl, active, randomise

TOLERANCE = 1e-4
# With v-prediction the latents of a U-Net that has learnt nothing stay of size one.
SCHEDULER = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1)
STEPS, IMAGES, SIZE = 4, 2, 128
PICTURES = [files.picture(SIZE, SIZE, seed) for seed in range(3)]
REFERENCES = [files.picture(32, 32, seed) for seed in (7, 8)]  # of the tower's size


@pytest.fixture(scope="module")
def unet() -> Any:
    return randomise(UNet2DConditionModel(**files.UNET, sample_size=SIZE // 8), 0, scale=0.05)


@pytest.fixture(scope="module")
def controlnets() -> list[Any]:
    return [randomise(files.controlnet(seed), seed, scale=0.05) for seed in (1, 2)]


@pytest.fixture(scope="module")
def t2i() -> dict[str, Any]:
    return {kind: files.t2i_adapter(kind, 3) for kind in files.T2I}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, unet: Any, controlnets: list[Any], t2i: dict[str, Any]
) -> Path:
    """Two ControlNets, a plain and a plus adapter and their vision tower, T2I-Adapters, as files."""
    root = tmp_path_factory.mktemp("models")
    for kind, network in t2i.items():
        save_file(files.to_original(network.state_dict()), root / f"t2i-{kind}.safetensors")
    for number, network in enumerate(controlnets):
        save_file(network.state_dict(), root / f"control{number}.safetensors")
    files.save_vision(root / "tower")
    widths = DiffusersUNet(unet).shape.attention_hidden
    for name, build in (("plain", files.plain_projection), ("plus", files.plus_projection)):
        files.save_adapter(root / f"{name}.safetensors", build()[1], widths)
    return root


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """It only says that a latent is an eighth of a picture."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(8,) * 4, norm_num_groups=4, **blocks)


Sample = Callable[..., Tensor]


@pytest.fixture(scope="module")
def sample(vae: AutoencoderKL) -> Sample:
    """Run a pipeline from fixed noise and prompts to latents."""
    generator = torch.Generator().manual_seed(0)
    latents, prompt, negative = (
        torch.randn(IMAGES, *shape, generator=generator)
        for shape in ((4, SIZE // 8, SIZE // 8), (7, files.CONTEXT), (7, files.CONTEXT))
    )

    def run(
        kind: Any, unet: Any, prepare: Callable[[Any], object] = bool, guidance: float = 1.5, **options: Any
    ) -> Tensor:
        own = {name: options.pop(name) for name in ("controlnet", "adapter") if name in options}
        pipeline = kind(
            **own,
            vae=vae,
            unet=unet,
            scheduler=SCHEDULER,
            text_encoder=None,
            tokenizer=None,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        prepare(pipeline)
        found = pipeline(
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            latents=latents.clone(),
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            height=SIZE,
            width=SIZE,
            output_type="latent",
            **options,
        ).images
        assert isinstance(found, Tensor)
        return found

    return run


def controlled(
    sample: Sample, unet: Any, folder: Path, *units: dict[str, Any], guidance: float = 1.5, **host: Any
) -> Tensor:
    """Our side: the units of a request, loaded from files, around the host's pipeline."""
    port = DiffusersUNet(unet)
    request = parse_request({"units": list(units)})
    loaded = load_units(request.units, Target(store=ModelStore([folder], 1 << 30), shape=port.shape))
    clock = CountingClock(STEPS, IMAGES, guided=guidance > 1)
    kind = StableDiffusionControlNetPipeline if host else StableDiffusionPipeline
    kind = StableDiffusionAdapterPipeline if "adapter" in host else kind
    with ControlSession(port, loaded, clock) as session:
        found = sample(kind, unet, guidance=guidance, **host)
    assert session.calls == STEPS
    return found


def require_equal(ours: Tensor, theirs: Tensor, plain: Tensor) -> None:
    worst, effect = float((ours - theirs).abs().max()), float((theirs - plain).abs().max())
    assert worst <= TOLERANCE
    assert effect > 0.05


def edges(number: int, **fields: Any) -> dict[str, Any]:
    return {"model": f"control{number}", "image": files.encode_image(PICTURES[number]), **fields}


def adapter(name: str, reference: int = 0, **fields: Any) -> dict[str, Any]:
    return {"model": name, "image": files.encode_image(REFERENCES[reference]), **fields}


def test_one_controlnet_in_a_window(sample: Sample, unet: Any, controlnets: list[Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        unet,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
        controlnet_conditioning_scale=0.7,
        control_guidance_start=0.25,
        control_guidance_end=0.75,
    )
    ours = controlled(sample, unet, folder, edges(0, weight=0.7, guidance_start=0.25, guidance_end=0.75))
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_without_guidance(sample: Sample, unet: Any, controlnets: list[Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        unet,
        guidance=1.0,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
    )
    ours = controlled(sample, unet, folder, edges(0), guidance=1.0)
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet, guidance=1.0))


def two(controlnets: list[Any]) -> dict[str, Any]:
    return {"controlnet": controlnets, "image": PICTURES[:2]}


def test_two_controlnets(sample: Sample, unet: Any, controlnets: list[Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        unet,
        **two(controlnets),
        controlnet_conditioning_scale=[0.7, 1.2],
        control_guidance_start=[0.0, 0.5],
        control_guidance_end=[0.75, 1.0],
    )
    ours = controlled(
        sample,
        unet,
        folder,
        edges(0, weight=0.7, guidance_end=0.75),
        edges(1, weight=1.2, guidance_start=0.5),
    )
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_guess_mode_is_mode_control_with_its_layer_weights(
    sample: Sample, unet: Any, controlnets: list[Any], folder: Path
) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        unet,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
        controlnet_conditioning_scale=1.0,
        guess_mode=True,
    )
    layers = [float(weight) for weight in np.logspace(-1, 0, 13)]
    ours = controlled(sample, unet, folder, edges(0, control_mode="control", layer_weights=layers))
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_on_top_of_the_hosts_own_controlnet(
    sample: Sample, unet: Any, controlnets: list[Any], folder: Path
) -> None:
    theirs = sample(StableDiffusionControlNetPipeline, unet, **two(controlnets))
    host = {"controlnet": controlnets[0], "image": [PICTURES[0]] * IMAGES}
    ours = controlled(sample, unet, folder, edges(1), **host)
    require_equal(ours, theirs, sample(StableDiffusionControlNetPipeline, unet, **host))


def embeds(folder: Path, name: str, reference: int) -> Tensor:
    """[2, 1, ...]: what their pipeline wants of a picture, the negative first."""
    config = json.loads((folder / "tower/config.json").read_text())
    config.pop("model_type")
    tower = files.CLIPVisionModelWithProjection(files.CLIPVisionConfig(**config)).eval()
    weights = load_file(folder / "tower/model.safetensors")
    assert not tower.load_state_dict(weights, strict=False).unexpected_keys
    square = np.asarray(REFERENCES[reference], np.float32) / 255
    pixels = torch.from_numpy((square - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)[None]
    with torch.no_grad():
        if name == "plain":
            found = tower(pixels).image_embeds
            return torch.stack([torch.zeros_like(found), found])
        both = torch.cat([torch.zeros_like(pixels), pixels])
        return tower(both, output_hidden_states=True).hidden_states[-2][:, None]


def with_adapters(folder: Path, *names: str) -> Callable[[Any], None]:
    """Load the files into their pipeline, as nested state dicts."""

    def prepare(pipeline: Any) -> None:
        dicts = []
        for name in names:
            flat = load_file(folder / f"{name}.safetensors")
            parts = ("image_proj", "ip_adapter")
            dicts.append(
                {p: {k.removeprefix(f"{p}."): v for k, v in flat.items() if k.startswith(p)} for p in parts}
            )
        weight_names, subfolders = [""] * len(names), [""] * len(names)
        pipeline.load_ip_adapter(dicts, subfolders, weight_names, image_encoder_folder=None)

    return prepare


@pytest.mark.parametrize("name", ["plain", "plus"])
def test_one_adapter_with_a_schedule(name: str, sample: Sample, unet: Any, folder: Path) -> None:
    weights = [0.4, 0.6, 0.8, 1.0]
    pipelines: list[Any] = []

    def prepare(pipeline: Any) -> None:
        with_adapters(folder, name)(pipeline)
        pipeline.set_ip_adapter_scale(weights[0])
        pipelines.append(pipeline)

    def next_weight(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipelines[0].set_ip_adapter_scale([*weights, 0.0][step + 1])
        return tensors

    theirs = sample(
        StableDiffusionPipeline,
        copy.deepcopy(unet),
        prepare,
        ip_adapter_image_embeds=[embeds(folder, name, 0)],
        callback_on_step_end=next_weight,
    )
    ours = controlled(sample, unet, folder, adapter(name, weight="0.4>1.2"))
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_two_adapters_and_two_controlnets(
    sample: Sample, unet: Any, controlnets: list[Any], folder: Path
) -> None:
    def prepare(pipeline: Any) -> None:
        with_adapters(folder, "plain", "plus")(pipeline)
        pipeline.set_ip_adapter_scale([0.5, 0.9])

    theirs = sample(
        StableDiffusionControlNetPipeline,
        copy.deepcopy(unet),
        prepare,
        ip_adapter_image_embeds=[embeds(folder, "plain", 0), embeds(folder, "plus", 1)],
        **two(controlnets),
    )
    stack = [adapter("plain", weight=0.5), edges(0), adapter("plus", 1, weight=0.9), edges(1)]
    ours = controlled(sample, unet, folder, *stack)
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def features(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"model": f"t2i-{kind}", "image": files.encode_image(PICTURES[number]), **fields}


@pytest.mark.parametrize("kind", ["full", "light"])
def test_one_t2i_adapter(kind: str, sample: Sample, unet: Any, t2i: dict[str, Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionAdapterPipeline,
        unet,
        adapter=t2i[kind],
        image=[PICTURES[0]] * IMAGES,
        adapter_conditioning_scale=0.7,
    )
    ours = controlled(sample, unet, folder, features(kind, weight=0.7))
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_two_t2i_adapters(sample: Sample, unet: Any, t2i: dict[str, Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionAdapterPipeline,
        unet,
        adapter=MultiAdapter([t2i["full"], t2i["full"]]),
        image=[[picture] * IMAGES for picture in PICTURES[:2]],
        adapter_conditioning_scale=[0.7, 0.4],
    )
    ours = controlled(sample, unet, folder, features("full", weight=0.7), features("full", 1, weight=0.4))
    require_equal(ours, theirs, sample(StableDiffusionPipeline, unet))


def test_on_top_of_the_hosts_own_t2i_adapter(
    sample: Sample, unet: Any, t2i: dict[str, Any], folder: Path
) -> None:
    host = {"adapter": t2i["light"], "image": [PICTURES[0]] * IMAGES}
    ours = controlled(sample, unet, folder, features("full", 1), **host)
    theirs = controlled(sample, unet, folder, features("full", 1), features("light"))
    require_equal(ours, theirs, sample(StableDiffusionAdapterPipeline, unet, **host))


def test_sites_stand_in_the_order_of_diffusers_own_processors(unet: Any) -> None:
    port = DiffusersUNet(unet)
    expected = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    assert [site.name for site in port.attention_sites()] == expected
    assert port.shape.heads == (4,) * 16
    assert port.shape.residual_channels == (32, 32, 32, 32, 64, 64, 64, 96, 96, 96, 96, 96, 96)


SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "attention_head_dim": (2, 4, 8),
    "cross_attention_dim": 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
}
SDXL_SIZES = [(8, 8)] * 3 + [(4, 4)] * 3 + [(2, 2)] * 4


def test_the_layout_of_sdxl() -> None:
    network = randomise(UNet2DConditionModel(**SDXL), 3)
    port = DiffusersUNet(network)
    assert port.shape.residual_channels == (32, 32, 32, 32, 64, 64, 64, 128, 128, 128)
    assert len(port.shape.attention_hidden) == 28
    expected = [name.removesuffix(".processor") for name in network.attn_processors if "attn2" in name]
    assert [site.name for site in port.attention_sites()] == expected
    inputs = {
        "sample": torch.randn(2, 4, 8, 8),
        "timestep": 7,
        "encoder_hidden_states": torch.randn(2, 5, 48),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 32), "time_ids": torch.randn(2, 6)},
    }
    control = NoiseControl(port.shape.residual_channels, SDXL_SIZES, 1)
    units = [active(control, weight=0.1, control_mode="control"), active(TokenControl(1), 1, weight=0.0)]
    with torch.no_grad():
        with ControlSession(port, units, CountingClock(1, 1, guided=True)):
            ours = network(**inputs).sample
        raw = control.raw(1)
        scales = [0.1 * 0.825 ** (9 - k) for k in range(10)]
        layers = [torch.cat([torch.zeros_like(t), t * s]) for t, s in zip(raw.layers, scales, strict=True)]
        wanted = Residuals(tuple(layers[:-1]), layers[-1])
        theirs = network(
            **inputs,
            down_block_additional_residuals=wanted.down,
            mid_block_additional_residual=wanted.mid,
        ).sample
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_a_t2i_adapter_for_sdxl_against_diffusers_own_argument(
    size: tuple[int, int], t2i: dict[str, Any], folder: Path
) -> None:
    network = randomise(UNet2DConditionModel(**SDXL), 3)
    port, pixels = DiffusersUNet(network), tuple(8 * side for side in size)
    inputs = {
        "sample": torch.randn(2, 4, *size),
        "timestep": 7,
        "encoder_hidden_states": torch.randn(2, 5, 48),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 32), "time_ids": torch.randn(2, 6)},
    }
    settings = {"control_mode": "control", "resize_mode": "just_resize", "weight": 0.6}
    request = parse_request({"units": [features("xl", **settings)]})
    units = load_units(request.units, Target(store=ModelStore([folder], 1 << 30), shape=port.shape))
    with torch.no_grad(), ControlSession(port, units, CountingClock(1, 1, guided=True)):
        ours = network(**inputs).sample
    shown = units[0].control.control_map(pixels[1], pixels[0])  # type: ignore[union-attr]
    hint = torch.from_numpy(np.array(shown, np.float32)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        raw = t2i["xl"](nn.functional.pad(hint, (0, -pixels[1] % 16, 0, -pixels[0] % 16), mode="replicate"))
        scaled = [0.6 * s * f for s, f in zip((0.25, 0.62, 0.825, 1.0), raw, strict=True)]
        both = [torch.cat([torch.zeros_like(f), f]) for f in scaled]
        theirs = network(**inputs, down_intrablock_additional_residuals=both).sample
        plain = network(**inputs).sample
    require_equal(ours, theirs, plain)
    assert torch.equal(ours[:1], plain[:1])
