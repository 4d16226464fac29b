"""The smallest checkpoints that are SD2 and SDXL by the widths of their text features: two levels.

SD2 predicts v and is a diffusers folder; SDXL is a single file with its yaml. Controls for them lie beside
them.
"""

import copy
import json
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import save_file
from transformers import CLIPTextModelWithProjection

from lib_ctrlgen.train.tiny.layouts import halved
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import checkpoint_models as checkpoints
from tests.support import control_files as files
from tests.support import headless_models as models

SD2, SDXL = "small-sd2", "small-sdxl"
FEATURE = 40  # channels of the vision encoder's embedding
_TEXT = {"num_hidden_layers": 2, "intermediate_size": 64}
_OPEN = {**models.TEXT, **_TEXT, "hidden_act": "gelu", "hidden_size": 1024, "num_attention_heads": 16}
_FIRST = {**models.TEXT, **_TEXT, "hidden_size": 768, "num_attention_heads": 12}
_SECOND = {**checkpoints.SECOND, **_TEXT, "hidden_size": 1280, "num_attention_heads": 20}
_UNET = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": (2, 4),
}
SD2_UNET: dict[str, Any] = {
    **_UNET,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "use_linear_projection": True,
    "cross_attention_dim": 1024,
}
SDXL_UNET: dict[str, Any] = {
    **checkpoints.SDXL,
    **_UNET,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": 2048,
}
_SDXL_PARAMS = {
    "attention_resolutions": [2],
    "num_res_blocks": 1,
    "channel_mult": [1, 2],
    "transformer_depth": [1, 2],
    "context_dim": 2048,
}


def sd2() -> checkpoints.Source:
    """SD2's networks."""
    return checkpoints.Source(
        unet=files.unet(**SD2_UNET), vae=checkpoints.vae(), texts=(checkpoints.text(_OPEN),)
    )


def sdxl() -> checkpoints.Source:
    """SDXL's networks."""
    towers = (checkpoints.text(_FIRST), checkpoints.text(_SECOND, CLIPTextModelWithProjection, 2))
    networks = (files.unet(**SDXL_UNET), checkpoints.vae(), *towers)
    for parameter in (each for network in networks for each in network.parameters()):
        parameter.data = parameter.data.half().float()  # the file is fp16
    return checkpoints.Source(unet=networks[0], vae=networks[1], texts=towers)


def write_sd2(folder: Path) -> checkpoints.Source:
    """SD2 as a diffusers folder, which says that it predicts v; returns its networks."""
    source = sd2()
    pipeline = checkpoints.sd2_pipeline(source, folder / "tokenizers", "v_prediction")
    pipeline.save_pretrained(folder / SD2)
    return source


def write_sdxl(folder: Path) -> checkpoints.Source:
    """SDXL as a single file with its yaml and the text folders that it names; returns its networks."""
    source = sdxl()
    params = copy.deepcopy(checkpoints.SDXL_YAML)
    params["network_config"]["params"].update(_SDXL_PARAMS)
    checkpoints.write(folder, SDXL, halved(checkpoints.sdxl_tensors(source, 1)), params)
    for name, config in (("text", _FIRST), ("text_open", _SECOND)):
        (folder / name / "config.json").write_text(json.dumps(config))
    return source


def write_controls(folder: Path, name: str, config: dict[str, Any]) -> None:
    """Control files for a U-Net: two ControlNets, an IP-Adapter, and the vision encoder that it reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, kind in enumerate(("canny", "depth"), 1):
        save_controlnet(folder / f"{name}-{kind}.safetensors", seed, config)
    files.save_vision(folder / "clip_vision" / f"{name}-vision", projection=FEATURE)
    save_adapter(folder / f"{name}-ip-adapter.safetensors", config)


def save_controlnet(path: Path, seed: int, config: dict[str, Any]) -> None:
    """A ControlNet for a U-Net, in ldm's layout."""
    tensors = files.to_ldm(files.controlnet(seed, **config).state_dict(), config["layers_per_block"])
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def save_adapter(path: Path, config: dict[str, Any]) -> None:
    """A plain IP-Adapter for a U-Net."""
    width = config["cross_attention_dim"]
    image = files.random_weights(ImageProjection(FEATURE, width, 4), 4).state_dict()
    tensors = {f"image_proj.{key.replace('image_embeds.', 'proj.')}": value for key, value in image.items()}
    shape = DiffusersUNet(UNet2DConditionModel(**{**files.UNET, **config})).shape
    save_file({**tensors, **files.adapter_layers(shape.attention_hidden, width)}, path)
