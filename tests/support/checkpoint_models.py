"""Random checkpoints of the families SD2 and SDXL, as a single file with its YAML or a diffusers folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lib_ctrlgen.train.tiny.layouts import prefixed, text_to_ldm, unet_to_ldm, vae_to_ldm
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.open_clip import to_open_clip

NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
SECOND = {
    **models.TEXT,
    "hidden_size": 32,
    "hidden_act": "gelu",
    "num_hidden_layers": 3,
    "projection_dim": 24,
}
OPENED = {**models.TEXT, "hidden_act": "gelu", "num_hidden_layers": 2}
WAVES = 8
SD2: dict[str, Any] = {"sample_size": 64, "attention_head_dim": (4, 8, 12, 12), "use_linear_projection": True}
SDXL: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 8),
    "use_linear_projection": True,
    "cross_attention_dim": files.CONTEXT + SECOND["hidden_size"],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": WAVES,
    "projection_class_embeddings_input_dim": SECOND["projection_dim"] + 6 * WAVES,
}
FIRST_STAGE = models.CONFIG["first_stage_config"]
SD2_YAML: dict[str, Any] = {
    **models.CONFIG,
    "unet_config": {
        "params": {
            **{k: v for k, v in models.CONFIG["unet_config"]["params"].items() if k != "num_heads"},
            "num_head_channels": 8,
            "use_linear_in_transformer": True,
        }
    },
    "cond_stage_config": {
        "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
        "params": {"arch": "text_open", "layer": "penultimate"},
    },
}
SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
SDXL_YAML: dict[str, Any] = {
    "scale_factor": 0.25,
    "denoiser_config": {
        "params": {
            "num_idx": 1000,
            "scaling_config": {"target": "sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling"},
            "discretization_config": {
                "target": "sgm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization"
            },
        }
    },
    "network_config": {
        "params": {
            "adm_in_channels": SDXL["projection_class_embeddings_input_dim"],
            "num_classes": "sequential",
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "attention_resolutions": [4, 2],
            "num_res_blocks": 2,
            "channel_mult": [1, 2, 4],
            "num_head_channels": 16,
            "use_linear_in_transformer": True,
            "transformer_depth": [1, 1, 2],
            "context_dim": SDXL["cross_attention_dim"],
        }
    },
    "conditioner_config": {
        "params": {
            "emb_models": [
                {
                    "input_key": "txt",
                    "target": "sgm.modules.encoders.modules.FrozenCLIPEmbedder",
                    "params": {"version": "text", "layer": "hidden", "layer_idx": 1},
                },
                {
                    "input_key": "txt",
                    "target": "sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2",
                    "params": {"arch": "text_open", "layer": "penultimate", "always_return_pooled": True},
                },
                *({"input_key": name, "params": {"outdim": WAVES}} for name in SIZES),
            ]
        }
    },
    "first_stage_config": FIRST_STAGE,
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """The networks that the files were written from; `texts` as diffusers keeps them."""

    unet: Any
    vae: Any
    texts: tuple[Any, ...]


def vae() -> Any:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        scaling_factor=0.25,
    ).eval()


def text(config: dict[str, Any], kind: Any = CLIPTextModel, seed: int = 1) -> Any:
    """A tower with random weights that tell texts apart; its norms are not the identity."""
    network = kind(CLIPTextConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1 + one + 0.02
    return network.eval().requires_grad_(False)


def sd2() -> Source:
    return Source(unet=files.unet(**SD2), vae=vae(), texts=(text(OPENED),))


def sdxl() -> Source:
    towers = text(models.TEXT), text(SECOND, CLIPTextModelWithProjection, 2)
    return Source(unet=files.unet(**SDXL), vae=vae(), texts=towers)


def sd2_tensors(source: Source) -> dict[str, Tensor]:
    """SD2's file, whose text tower has one more layer than is used."""
    whole = text({**OPENED, "num_hidden_layers": 3}, seed=9).state_dict()
    tower = to_open_clip({**whole, **source.texts[0].state_dict()})
    return contiguous(
        {
            **prefixed("model.diffusion_model.", unet_to_ldm(source.unet.state_dict())),
            **prefixed("first_stage_model.", vae_to_ldm(source.vae.state_dict())),
            **prefixed("cond_stage_model.model.", tower),
            "cond_stage_model.model.text_projection": torch.zeros(64, 32),
            "cond_stage_model.model.logit_scale": torch.zeros(()),
            "cond_stage_model.model.attn_mask": torch.zeros(77, 77),
        }
    )


def sdxl_tensors(source: Source, per_level: int = 2) -> dict[str, Tensor]:
    """SDXL's file, with `per_level` resnets in each level of the U-Net."""
    first, second = source.texts
    state = source.unet.state_dict()
    added = {key: state.pop(key) for key in list(state) if key.startswith("add_embedding.")}
    unet = {
        **unet_to_ldm(state, per_level),
        **{key.replace("add_embedding.linear_", "label_emb.0."): value for key, value in added.items()},
    }
    unet = {key.replace("label_emb.0.1.", "label_emb.0.0."): value for key, value in unet.items()}
    return contiguous(
        {
            **prefixed("model.diffusion_model.", unet),
            **prefixed("first_stage_model.", vae_to_ldm(source.vae.state_dict())),
            **prefixed("conditioner.embedders.0.transformer.", text_to_ldm(first.state_dict())),
            **prefixed("conditioner.embedders.1.model.", to_open_clip(second.state_dict())),
            "conditioner.embedders.1.model.logit_scale": torch.zeros(()),
        }
    )


def contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.contiguous().clone() for key, value in tensors.items()}


def write(folder: Path, name: str, tensors: dict[str, Tensor], params: dict[str, Any]) -> None:
    """A single file, the yaml beside it, and the text folders that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))
    models.write_text(folder / "text")
    models.write_tokenizer(folder / "text_open")
    config = SECOND if "conditioner_config" in params else {**OPENED, "num_hidden_layers": 3}
    (folder / "text_open" / "config.json").write_text(json.dumps(config))


def tokenizer(folder: Path, pad: str = models.END) -> Any:
    models.write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, pad_token=pad)


def sd2_pipeline(source: Source, folder: Path, prediction: str = "epsilon") -> Any:
    """diffusers' own pipeline on the source's networks; `folder` is for its tokenizers."""
    pipeline = StableDiffusionPipeline(
        vae=source.vae,
        unet=source.unet,
        text_encoder=source.texts[0],
        tokenizer=tokenizer(folder / "one", "!"),
        scheduler=scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sdxl_parts(source: Source, folder: Path) -> dict[str, Any]:
    return {
        "vae": source.vae,
        "unet": source.unet,
        "text_encoder": source.texts[0],
        "text_encoder_2": source.texts[1],
        "tokenizer": tokenizer(folder / "one"),
        "tokenizer_2": tokenizer(folder / "two", "!"),
        "add_watermarker": False,
    }


def sdxl_pipeline(source: Source, folder: Path, prediction: str = "epsilon") -> Any:
    pipeline = StableDiffusionXLPipeline(**sdxl_parts(source, folder), scheduler=scheduler(prediction))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def scheduler(prediction: str = "epsilon") -> Any:
    """What the engine's DDIM is."""
    more = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return DDIMScheduler(**NOISE, **more, prediction_type=prediction)
