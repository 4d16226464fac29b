"""The session in a diffusers pipeline compared with diffusers' own ControlNet and IP-Adapter pipelines.

Both get the same weights: diffusers as modules, the session as files through the model store.
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
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from torch import Tensor

from lib_ctrlgen.models.clip_vision import MEAN, STD
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import control_files as files
from tests.support.diffusers_pipeline import (
    IMAGES,
    PICTURES,
    REFERENCES,
    SDXL,
    Sample,
    controlled,
    require_equal,
)
from tests.support.networks import NoiseControl, TokenControl, active, randomise


def edges(number: int, **fields: Any) -> dict[str, Any]:
    return {"model": f"control{number}", "image": files.encode_image(PICTURES[number]), **fields}


def adapter(name: str, reference: int = 0, **fields: Any) -> dict[str, Any]:
    return {"model": name, "image": files.encode_image(REFERENCES[reference]), **fields}


def test_one_controlnet_in_a_window(
    sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path, plain: Tensor
) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        pipeline_unet,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
        controlnet_conditioning_scale=0.7,
        control_guidance_start=0.25,
        control_guidance_end=0.75,
    )
    ours = controlled(
        sample, pipeline_unet, folder, edges(0, weight=0.7, guidance_start=0.25, guidance_end=0.75)
    )
    require_equal(ours, theirs, plain)


def test_without_guidance(sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        pipeline_unet,
        guidance=1.0,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
    )
    ours = controlled(sample, pipeline_unet, folder, edges(0), guidance=1.0)
    require_equal(ours, theirs, sample(StableDiffusionPipeline, pipeline_unet, guidance=1.0))


def two(controlnets: list[Any]) -> dict[str, Any]:
    return {"controlnet": controlnets, "image": PICTURES[:2]}


def test_two_controlnets(
    sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path, plain: Tensor
) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        pipeline_unet,
        **two(controlnets),
        controlnet_conditioning_scale=[0.7, 1.2],
        control_guidance_start=[0.0, 0.5],
        control_guidance_end=[0.75, 1.0],
    )
    ours = controlled(
        sample,
        pipeline_unet,
        folder,
        edges(0, weight=0.7, guidance_end=0.75),
        edges(1, weight=1.2, guidance_start=0.5),
    )
    require_equal(ours, theirs, plain)


def test_guess_mode_is_mode_control_with_its_layer_weights(
    sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path, plain: Tensor
) -> None:
    theirs = sample(
        StableDiffusionControlNetPipeline,
        pipeline_unet,
        controlnet=controlnets[0],
        image=[PICTURES[0]] * IMAGES,
        controlnet_conditioning_scale=1.0,
        guess_mode=True,
    )
    layers = [float(weight) for weight in np.logspace(-1, 0, 13)]
    ours = controlled(sample, pipeline_unet, folder, edges(0, control_mode="control", layer_weights=layers))
    require_equal(ours, theirs, plain)


def test_on_top_of_the_hosts_own_controlnet(
    sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path
) -> None:
    theirs = sample(StableDiffusionControlNetPipeline, pipeline_unet, **two(controlnets))
    host = {"controlnet": controlnets[0], "image": [PICTURES[0]] * IMAGES}
    ours = controlled(sample, pipeline_unet, folder, edges(1), **host)
    require_equal(ours, theirs, sample(StableDiffusionControlNetPipeline, pipeline_unet, **host))


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
def test_one_adapter_with_a_schedule(
    name: str, sample: Sample, pipeline_unet: Any, folder: Path, plain: Tensor
) -> None:
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
        copy.deepcopy(pipeline_unet),
        prepare,
        ip_adapter_image_embeds=[embeds(folder, name, 0)],
        callback_on_step_end=next_weight,
    )
    ours = controlled(sample, pipeline_unet, folder, adapter(name, weight="0.4>1.2"))
    require_equal(ours, theirs, plain)


def test_two_adapters_and_two_controlnets(
    sample: Sample, pipeline_unet: Any, controlnets: list[Any], folder: Path, plain: Tensor
) -> None:
    def prepare(pipeline: Any) -> None:
        with_adapters(folder, "plain", "plus")(pipeline)
        pipeline.set_ip_adapter_scale([0.5, 0.9])

    theirs = sample(
        StableDiffusionControlNetPipeline,
        copy.deepcopy(pipeline_unet),
        prepare,
        ip_adapter_image_embeds=[embeds(folder, "plain", 0), embeds(folder, "plus", 1)],
        **two(controlnets),
    )
    stack = [adapter("plain", weight=0.5), edges(0), adapter("plus", 1, weight=0.9), edges(1)]
    ours = controlled(sample, pipeline_unet, folder, *stack)
    require_equal(ours, theirs, plain)


def test_sites_stand_in_the_order_of_diffusers_own_processors(pipeline_unet: Any) -> None:
    port = DiffusersUNet(pipeline_unet)
    expected = [name.removesuffix(".processor") for name in pipeline_unet.attn_processors if "attn2" in name]
    assert [site.name for site in port.attention_sites()] == expected
    assert port.shape.heads == (4,) * 16
    assert port.shape.residual_channels == (32, 32, 32, 32, 64, 64, 64, 96, 96, 96, 96, 96, 96)


SDXL_SIZES = [(8, 8)] * 3 + [(4, 4)] * 3 + [(2, 2)] * 4


def test_the_layout_of_sdxl() -> None:
    network = randomise(UNet2DConditionModel(**SDXL), 3)
    port = DiffusersUNet(network)
    assert port.shape.residual_channels == (32, 32, 32, 32, 64, 64, 64, 128, 128, 128)
    assert len(port.shape.attention_hidden) == 17
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
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)  # processors round otherwise
