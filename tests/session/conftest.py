"""The networks for tests against diffusers' own pipelines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.diffusers_pipeline import (
    IMAGES,
    SCHEDULER,
    SIZE,
    STEPS,
    Sample,
)
from tests.support.networks import randomise
from tests.support.unet_calls import sd_diffusers, sd_ldm


@pytest.fixture(scope="module", params=[sd_ldm, sd_diffusers], ids=["ldm", "diffusers"])
def unet(request: pytest.FixtureRequest) -> Any:
    """A small SD1.5 U-Net of each host."""
    build: Callable[[], Any] = request.param
    return build()


@pytest.fixture(scope="module")
def pipeline_unet() -> Any:
    """A U-Net of the size that the pipelines are compared at."""
    return randomise(UNet2DConditionModel(**files.UNET, sample_size=SIZE // 8), 0, scale=0.05)


@pytest.fixture(scope="module")
def controlnets() -> list[Any]:
    return [randomise(files.controlnet(seed), seed, scale=0.05) for seed in (1, 2)]


@pytest.fixture(scope="module")
def t2i() -> dict[str, Any]:
    return {kind: files.t2i_adapter(kind, 3) for kind in files.T2I}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, pipeline_unet: Any, controlnets: list[Any], t2i: dict[str, Any]
) -> Path:
    """Two ControlNets, a plain and a plus adapter and their vision tower, T2I-Adapters, as files."""
    root = tmp_path_factory.mktemp("models")
    for kind, network in t2i.items():
        save_file(files.to_original(network.state_dict()), root / f"t2i-{kind}.safetensors")
    for number, network in enumerate(controlnets):
        save_file(network.state_dict(), root / f"control{number}.safetensors")
    files.save_vision(root / "tower")
    widths = DiffusersUNet(pipeline_unet).shape.attention_hidden
    for name, build in (("plain", files.plain_projection), ("plus", files.plus_projection)):
        files.save_adapter(root / f"{name}.safetensors", build()[1], widths)
    return root


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """It only says that a latent is an eighth of a picture."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(8,) * 4, norm_num_groups=4, **blocks)


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


@pytest.fixture(scope="module")
def plain(sample: Sample, pipeline_unet: Any) -> Tensor:
    """The latents without any control."""
    return sample(StableDiffusionPipeline, pipeline_unet)
