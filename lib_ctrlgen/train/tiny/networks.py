"""The networks of the tiny model: Stable Diffusion 1.5's structure with a hundredth of its size."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

UNET_CHANNELS = (64, 64, 64, 64)
VAE_CHANNELS = (32, 64, 64, 96)
HINT_CHANNELS = (16, 32, 96, 256)
CONTEXT = 64  # width of the text encoder, and of the joint embedding space
HEADS = 4
VISION_SIZE = 64  # pixels
IP_TOKENS = 4
SCALE_FACTOR = 0.18215  # as in SD1.5: latents times this have standard deviation 1


def new_vae() -> AutoencoderKL:
    """An autoencoder: pictures [B, 3, H, W] in -1..1 to latents [B, 4, H/8, W/8]."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=VAE_CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=128,
    )


def new_unet() -> UNet2DConditionModel:
    """SD1.5's U-Net: latents [B, 4, h, w], timesteps [B], text [B, 77, 64] to noise [B, 4, h, w]."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=HEADS,
    )


def new_control(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet, initialised with the U-Net's encoder; hints [B, 3, H, W] in 0..1."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_CHANNELS)


def new_text(start: int = 49406, end: int = 49407) -> CLIPTextModel:
    """The text encoder: ids [B, 77] to states [B, 77, 64], after a final layer norm."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=CONTEXT,
            intermediate_size=4 * CONTEXT,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            projection_dim=CONTEXT,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def new_vision() -> CLIPVisionModelWithProjection:
    """The vision encoder: CLIP-normalised pictures [B, 3, 64, 64] to embeddings [B, 64]."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=VISION_SIZE,
            patch_size=8,
            hidden_act="quick_gelu",
            projection_dim=CONTEXT,
        )
    )


def new_schedule() -> DDPMScheduler:
    """SD1.5's noise schedule: 1000 timesteps, scaled-linear betas from 0.00085 to 0.012."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
    )


class ImageProjection(nn.Module):
    """Projects an image embedding [B, 64] to four image tokens [B, 4, 64] (IP-Adapter, arXiv 2308.06721)."""

    def __init__(self, embedding: int = CONTEXT, context: int = CONTEXT) -> None:
        super().__init__()
        self.context = context
        self.proj = nn.Linear(embedding, IP_TOKENS * context)
        self.norm = nn.LayerNorm(context)

    def forward(self, embeds: Tensor) -> Tensor:
        """Embeddings [B, 64] to image tokens [B, 4, 64]."""
        words = self.proj(embeds).reshape(-1, IP_TOKENS, self.context)
        normed: Tensor = self.norm(words)
        return normed


def freeze(module: nn.Module) -> nn.Module:
    """Stop the training of a module's weights, and set it to evaluation mode."""
    return module.requires_grad_(False).eval()


def seeded(seed: int) -> None:
    """Set torch's seed, so that initial weights are reproducible."""
    torch.manual_seed(seed)
