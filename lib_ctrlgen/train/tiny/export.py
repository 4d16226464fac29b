"""Writes the trained networks in the file formats of published models."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from .clip import MEAN, STD, ClipNetworks
from .layouts import Weights, halved, prefixed, text_to_ldm, unet_to_ldm, vae_to_ldm, vision_to_old
from .networks import CONTEXT, HEADS, SCALE_FACTOR, UNET_CHANNELS, VAE_CHANNELS, VISION_SIZE
from .together import JointNetworks

NAME = "ctrlgen-tiny"
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class TrainedNetworks:
    """All trained networks."""

    towers: ClipNetworks
    vae: AutoencoderKL
    whole: JointNetworks
    seed: int


def export(family: TrainedNetworks, tokenizer: Path, out: Path) -> None:
    """Write checkpoint, config, towers, ControlNets and IP-Adapter under `out`."""
    for folder in ("text", "ControlNet", f"clip_vision/{NAME}-vision"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _write(family, checkpoint(family), out / f"{NAME}.safetensors", "SD1.5-shaped checkpoint")
    (out / f"{NAME}.yaml").write_text(yaml_config())
    for name, control in family.whole.controls.items():
        weights = prefixed("control_model.", unet_to_ldm(control.state_dict()))
        _write(family, weights, out / f"ControlNet/{NAME}-{name}.safetensors", f"ControlNet {name}")
    _write(family, family.whole.adapter.flat(), out / f"ControlNet/{NAME}-ip.safetensors", "IP-Adapter")
    _write_vision(family, out / f"clip_vision/{NAME}-vision")
    _write_json(out / "text/config.json", text_config())
    for name in TOKENIZER:
        shutil.copyfile(tokenizer / name, out / "text" / name)


def checkpoint(family: TrainedNetworks) -> Weights:
    """U-Net (without the IP-Adapter's processors), autoencoder and text encoder in ldm's layout."""
    unet = {key: value for key, value in family.whole.unet.state_dict().items() if ".processor." not in key}
    return {
        **prefixed("model.diffusion_model.", unet_to_ldm(unet)),
        **prefixed("first_stage_model.", vae_to_ldm(family.vae.state_dict())),
        **prefixed("cond_stage_model.transformer.", text_to_ldm(family.towers.text.state_dict())),
    }


def _write(family: TrainedNetworks, weights: Weights, path: Path, title: str) -> None:
    save_file(halved(weights), path, metadata=_metadata(family, title))


def _metadata(family: TrainedNetworks, title: str) -> dict[str, str]:
    return {
        "format": "pt",
        "name": f"{NAME} {title}",
        "base": NAME,
        "seed": str(family.seed),
        "license": "MIT",
    }


def _write_vision(family: TrainedNetworks, folder: Path) -> None:
    weights = vision_to_old(family.towers.vision.state_dict())
    _write(family, weights, folder / "model.safetensors", "vision tower")
    projection: dict[str, Tensor] = {
        "text_projection.weight": family.towers.text_projection.weight,
        "logit_scale": family.towers.logit_scale,
    }
    _write(family, projection, folder / "text_projection.safetensors", "text projection")
    _write_json(folder / "config.json", vision_config())
    _write_json(folder / "preprocessor_config.json", preprocessor_config())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def text_config() -> dict[str, Any]:
    """The text encoder's config.json."""
    return {
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "hidden_act": "quick_gelu",
        "hidden_size": CONTEXT,
        "intermediate_size": 4 * CONTEXT,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pad_token_id": 49407,
        "projection_dim": CONTEXT,
        "torch_dtype": "float16",
        "vocab_size": 49408,
    }


def vision_config() -> dict[str, Any]:
    """The vision encoder's config.json."""
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "attention_dropout": 0.0,
        "hidden_act": "quick_gelu",
        "hidden_size": 128,
        "image_size": VISION_SIZE,
        "intermediate_size": 384,
        "layer_norm_eps": 1e-05,
        "model_type": "clip_vision_model",
        "num_attention_heads": 4,
        "num_channels": 3,
        "num_hidden_layers": 4,
        "patch_size": 8,
        "projection_dim": CONTEXT,
        "torch_dtype": "float16",
    }


def preprocessor_config() -> dict[str, Any]:
    """The vision encoder's preprocessor_config.json."""
    return {
        "crop_size": {"height": VISION_SIZE, "width": VISION_SIZE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": list(MEAN),
        "image_processor_type": "CLIPImageProcessor",
        "image_std": list(STD),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": VISION_SIZE},
    }


def yaml_config() -> str:
    """The ldm configuration, like Stable Diffusion's v1-inference.yaml."""
    unet = [channels // UNET_CHANNELS[0] for channels in UNET_CHANNELS]
    vae = [channels // VAE_CHANNELS[0] for channels in VAE_CHANNELS]
    return TEMPLATE.format(
        scale=SCALE_FACTOR,
        unet=UNET_CHANNELS[0],
        unet_mult=unet,
        vae=VAE_CHANNELS[0],
        vae_mult=vae,
        heads=HEADS,
        context=CONTEXT,
    )


TEMPLATE = (Path(__file__).parent / "ldm.yaml.template").read_text()


@torch.no_grad()
def normalise(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold the mean and standard deviation [4] of the latent channels into the adjacent 1x1 convolutions.

    Afterwards latents times SCALE_FACTOR have mean 0 and standard deviation 1, and decoded pictures are the
    same.
    """
    scale = std * SCALE_FACTOR
    quant, back = vae.quant_conv, vae.post_quant_conv
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= scale[None, :, None, None]
    quant.weight[:4] /= scale[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) / scale
    quant.bias[4:] -= 2 * scale.log()
