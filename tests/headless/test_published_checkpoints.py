"""Published checkpoints are recognised at full size from the names and shapes of ldm's and sgm's networks."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lib_ctrlgen.headless.checkpoints import kinds
from lib_ctrlgen.headless.checkpoints.config import read_config
from lib_ctrlgen.headless.checkpoints.convert import from_open_clip, inner_of, text_of, unet_of, vae_of
from lib_ctrlgen.headless.checkpoints.text_encoder import BIG_G, CLIP, PUBLISHED, VIT_H, read_text_config
from lib_ctrlgen.train.tiny.layouts import prefixed, vae_to_ldm
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.family import Family
from tests.support.open_clip import OpenClip

META = torch.device("meta")
TOKENS = {"vocab_size": 49408}


def ldm_unet() -> Any:
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    return UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        attention_resolutions=[4, 2, 1],
        num_res_blocks=2,
        channel_mult=[1, 2, 4, 4],
        num_head_channels=64,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        transformer_depth=1,
        context_dim=1024,
        legacy=False,
    )


def sgm_unet() -> Any:
    model: Any = pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    from imaginairy.modules.sgm import attention

    model.SpatialTransformer = attention.SpatialTransformer
    return model.UNetModel(
        in_channels=4,
        out_channels=4,
        model_channels=320,
        channel_mult=(1, 2, 4),
        num_res_blocks=2,
        attention_resolutions=[4, 2],
        num_head_channels=64,
        transformer_depth=[1, 2, 10],
        context_dim=2048,
        use_linear_in_transformer=True,
        num_classes="sequential",
        adm_in_channels=2816,
    )


def vae() -> Any:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )


def open_clip(name: str) -> Mapping[str, Tensor]:
    return OpenClip({**PUBLISHED[name], **TOKENS}).state_dict()


def clip() -> Mapping[str, Tensor]:
    return CLIPTextModel(CLIPTextConfig(**PUBLISHED[CLIP], **TOKENS)).state_dict()


@pytest.mark.parametrize("kind", [kinds.SD2, kinds.SDXL], ids=["SD2", "SDXL"])
def test_the_published_layout_fits_its_yaml(kind: kinds.Kind) -> None:
    with META:
        unet, text_encoders = (
            (ldm_unet(), [open_clip(VIT_H)])
            if kind is kinds.SD2
            else (sgm_unet(), [clip(), open_clip(BIG_G)])
        )
        tensors = prefixed(kinds.UNET, unet.state_dict()) | prefixed(
            kinds.VAE, vae_to_ldm(vae().state_dict())
        )
    for prefix, tower in zip(kind.text, text_encoders, strict=True):
        tensors |= prefixed(prefix, tower)
    assert kinds.kind_of(tensors) == kind
    config = read_config(kind.published, kind)
    network = unet_of(tensors, config, META, torch.float16, sizes=kind.sized)
    assert DiffusersUNet(network).shape.family == Family.of(2048 if kind.sized else 1024)
    assert sum(each.numel() for each in network.parameters()) == sum(
        each.numel() for each in unet.parameters()
    )
    assert vae_of(tensors, config, META, torch.float32).config.scaling_factor == (
        0.13025 if kind.sized else 0.18215
    )
    for prefix, opened, stage in zip(kind.text, kind.open_clip, config.stages, strict=True):
        architecture = read_text_config(stage.folder, stage.name, int(opened and not kind.sized))
        own = inner_of(tensors, prefix)
        if opened:
            own = from_open_clip(own, architecture.num_hidden_layers, projected=kind.sized)
        text_of(own, architecture, META, torch.float16, projected=opened and kind.sized)
