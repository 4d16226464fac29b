"""Fixtures with small SD2 and SDXL models, controls for them, and an engine that reads them.

A test module gets the fixtures by naming this module in `pytest_plugins`.
"""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.batch import PromptBatch
from lib_ctrlgen.headless.sampling.run import sample_batch
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import checkpoint_models as checkpoints
from tests.support import control_files as files
from tests.support import lllite_reference as lllite
from tests.support import lora_files as lora

Change: TypeAlias = Callable[[dict[str, Tensor], dict[str, Any]], object]
CPU = Place(device=torch.device("cpu"), dtype=torch.float32)
CHECKPOINTS: dict[str, Any] = {
    "sd2": (checkpoints.sd2, checkpoints.sd2_tensors, checkpoints.sd2_pipeline, checkpoints.SD2_YAML),
    "sdxl": (checkpoints.sdxl, checkpoints.sdxl_tensors, checkpoints.sdxl_pipeline, checkpoints.SDXL_YAML),
}
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def checkpoint_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single file and a folder of each checkpoint family."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, (source, tensors, pipeline, params) in CHECKPOINTS.items():
        made = source()
        checkpoints.write(folder / name, name, tensors(made), params)
        pipeline(made, folder / name / "tokenizers").save_pretrained(folder / f"{name}-folder")
        save_file(ldm(controlnet(name)), folder / name / f"{name}-edges.safetensors")
    own = folder / "sdxl"
    lora.save(lllite_file()[0], own / "sdxl-lines.safetensors")
    save_file(t2i().state_dict(), own / "sdxl-sketch.safetensors")
    write_others(own)
    return folder


def controlnet(name: str) -> Any:
    return files.controlnet(3, **(checkpoints.SDXL if name == "sdxl" else checkpoints.SD2))


def ldm(network: Any) -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in files.to_ldm(network.state_dict()).items()}


def t2i() -> Any:
    return files.t2i_adapter("xl")


def lllite_file() -> tuple[dict[str, Tensor], Any]:
    sites = lllite.sites_of()
    return lora.lllite_tensors(sites, 4), sites


def write_others(folder: Path) -> None:
    """An IP-Adapter with its vision tower, and a ControlLoRA."""
    unet = files.unet(**checkpoints.SDXL)
    shape = DiffusersUNet(unet).shape
    files.save_vision(folder / "clip_vision" / "vision")
    width = checkpoints.SDXL["cross_attention_dim"]
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


@pytest.fixture(scope="session")
def checkpoint_engine(checkpoint_root: Path) -> Engine:
    return Engine([checkpoint_root / "sd2", checkpoint_root / "sdxl", checkpoint_root], 1 << 30, CPU)


EDGES = {"model": "sdxl-edges", "image": files.data_url(64, 96), "weight": 2}


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    payload = {
        "model": "sdxl",
        "prompt": "a red star",
        "negative_prompt": "blue",
        "width": 64,
        "height": 96,
        "steps": 4,
        "sampler": "Euler",
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
    batch = PromptBatch.of(requests)
    units = engine.units(batch, networks)
    return sample_batch(batch, networks, units, engine.encoder(networks)).latents


def theirs(pipeline: Any, wanted: GenerationRequest, **more: Any) -> Tensor:
    """The last latents of a pipeline of diffusers. Four even timesteps are whole: both hosts call alike."""
    even = {"timestep_spacing": "linspace", "steps_offset": 1}
    config = {**pipeline.scheduler.config, **even}
    pipeline.scheduler = EulerDiscreteScheduler.from_config(config)
    told: dict[str, Any] = {"negative_prompt": wanted.negative_prompt, **more}
    found: Tensor = pipeline(
        wanted.prompt,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.cfg_scale(0.0),
        generator=torch.Generator().manual_seed(wanted.seed),
        output_type="latent",
        **told,
    ).images
    return found


def off(mine: Tensor, other: Tensor) -> float:
    return float((mine - other).abs().max() / other.abs().max().clamp(min=1))


def changed(root: Path, folder: Path, name: str, change: Change) -> Path:
    """A copy of a checkpoint's single file, changed: `change(tensors, params)`. The file's path."""
    shutil.copytree(root / name, folder, dirs_exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = load_file(path)
    params = copy.deepcopy(CHECKPOINTS[name][3])
    change(tensors, params)
    checkpoints.write(folder, name, tensors, params)
    return path
