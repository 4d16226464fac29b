"""A complete random model in the layout of the bundled tiny model."""

import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lib_ctrlgen.train.tiny.layouts import prefixed, text_to_ldm, unet_to_ldm, vae_to_ldm
from tests.support import control_files as files

NAME = "ctrlgen-tiny"
START, END = "<|startoftext|>", "<|endoftext|>"
TEXT: dict[str, Any] = {
    "vocab_size": 514,
    "hidden_size": files.CONTEXT,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "projection_dim": 32,
    "hidden_act": "quick_gelu",
    "bos_token_id": 512,
    "eos_token_id": 513,
    "pad_token_id": 513,
}
CONFIG: dict[str, Any] = {
    "linear_start": 0.00085,
    "linear_end": 0.012,
    "timesteps": 1000,
    "scale_factor": 0.25,
    "unet_config": {
        "params": {
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "attention_resolutions": [4, 2, 1],
            "num_res_blocks": 2,
            "channel_mult": [1, 2, 3, 3],
            "num_heads": 4,
            "transformer_depth": 1,
            "context_dim": files.CONTEXT,
        }
    },
    "first_stage_config": {
        "params": {
            "ddconfig": {
                "z_channels": 4,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 32,
                "ch_mult": [1, 1, 1, 1],
                "num_res_blocks": 1,
            }
        }
    },
    "cond_stage_config": {
        "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
        "params": {"version": "text"},
    },
}


# A U-Net of two levels with one resnet each, for tests that call it often: a fifth of the layers.
SMALL: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SMALL_PARAMS = {"attention_resolutions": [1], "num_res_blocks": 1, "channel_mult": [1, 2]}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks that the files were written from."""

    unet: Any
    vae: Any
    text: Any


def networks(**config: Any) -> Networks:
    """The networks; `config` is what differs in the U-Net."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        scaling_factor=0.25,
    )
    text = CLIPTextModel(CLIPTextConfig(**TEXT))
    for name, bias in text.named_parameters():  # without it the features' mean is 0, as no real tower's is
        if name.endswith("final_layer_norm.bias"):
            torch.nn.init.normal_(bias, 0.1, 0.1)
    return Networks(unet=files.unet(**config), vae=vae.eval(), text=text.eval())


def checkpoint(source: Networks) -> dict[str, Tensor]:
    """The networks in one dictionary under ldm's names."""
    per_level = source.unet.config.layers_per_block
    tensors = {
        **prefixed("model.diffusion_model.", unet_to_ldm(source.unet.state_dict(), per_level)),
        **prefixed("first_stage_model.", vae_to_ldm(source.vae.state_dict())),
        **prefixed("cond_stage_model.transformer.", text_to_ldm(source.text.state_dict())),
    }
    return {key: value.contiguous().clone() for key, value in tensors.items()}


def write_yaml(path: Path, **params: Any) -> None:
    path.write_text(yaml.safe_dump({"model": {"params": {**CONFIG, **params}}}))


def write_tokenizer(folder: Path) -> None:
    """CLIP's byte-level tokenizer without a single merge: every letter is a word."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + k) for k in range(256 - len(letters))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def write_text(folder: Path) -> None:
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_text_model", **TEXT}))


def write_model(folder: Path) -> Networks:
    """Write all that the tiny model's folder holds, with random weights. The networks must not be changed."""
    template, source = written()
    shutil.copytree(template.name, folder, dirs_exist_ok=True)
    return source


@functools.cache
def written() -> tuple["tempfile.TemporaryDirectory[str]", Networks]:
    """The folder of a complete model, which is removed when the process ends, and its networks."""
    template, source = tempfile.TemporaryDirectory(prefix="ctrlgen-tiny-"), networks()
    folder = Path(template.name)
    write_yaml(folder / f"{NAME}.yaml")
    write_parts(folder, source)
    return template, source


def write_small_model(folder: Path) -> None:
    """The same with a `SMALL` U-Net."""
    shutil.copytree(written_small().name, folder, dirs_exist_ok=True)


@functools.cache
def written_small() -> "tempfile.TemporaryDirectory[str]":
    """The folder of a complete model with a `SMALL` U-Net, which is removed when the process ends."""
    template = tempfile.TemporaryDirectory(prefix="ctrlgen-small-")
    folder = Path(template.name)
    unet = {"params": {**CONFIG["unet_config"]["params"], **SMALL_PARAMS}}
    write_yaml(folder / f"{NAME}.yaml", unet_config=unet)
    write_parts(folder, networks(**SMALL), **SMALL)
    return template


def write_parts(folder: Path, source: Networks, **config: Any) -> None:
    """The checkpoint, text folder, controls and vision encoder of a model; `config` as in `networks`."""
    save_file(checkpoint(source), folder / f"{NAME}.safetensors")
    write_text(folder / "text")
    (folder / "ControlNet").mkdir()
    for seed, name in enumerate(("edges", "depth"), 1):
        network = files.controlnet(seed, **config).state_dict() if config else files.controlnet_tensors(seed)
        tensors = files.to_ldm(network, source.unet.config.layers_per_block)
        ldm = {f"control_model.{key}": value.contiguous() for key, value in tensors.items()}
        save_file(ldm, folder / f"ControlNet/{NAME}-{name}.safetensors")
    files.save_vision(folder / f"clip_vision/{NAME}-vision")
    _, projection = files.plain_projection()
    widths = files.shape(**config).attention_hidden
    files.save_adapter(folder / f"ControlNet/{NAME}-ip.safetensors", projection, widths)
