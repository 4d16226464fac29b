"""The IP-Adapter: colours and texture from a reference picture (arXiv 2308.06721)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional

from .layouts import Weights
from .networks import CONTEXT, ImageProjection


class Reference(NamedTuple):
    """Reference pictures as words [B, 4, 64], and the weight [B] of each row."""

    words: Tensor
    weight: Tensor


class PictureAttention(nn.Module):
    """Cross attention on text and, apart, on a reference's words; every row at its own weight."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(CONTEXT, attention.inner_dim, bias=False)
        self.to_v_ip = nn.Linear(CONTEXT, attention.inner_dim, bias=False)
        with torch.no_grad():  # they start as the text's own
            self.to_k_ip.weight.copy_(attention.to_k.weight)
            self.to_v_ip.weight.copy_(attention.to_v.weight)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: tuple[Tensor, Reference],
        attention_mask: None = None,
    ) -> Tensor:
        """Hidden [B, N, C] and (text [B, T, 64], reference) to hidden [B, N, C]."""
        del attention_mask
        text, (words, weight) = encoder_hidden_states
        query = _heads(attn.to_q(hidden_states), attn.heads)
        out = functional.scaled_dot_product_attention(
            query, _heads(attn.to_k(text), attn.heads), _heads(attn.to_v(text), attn.heads)
        )
        values = self.to_v_ip(words) * weight[:, None, None]
        out = out + functional.scaled_dot_product_attention(
            query, _heads(self.to_k_ip(words), attn.heads), _heads(values, attn.heads)
        )
        joined: Tensor = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return joined


def _heads(values: Tensor, heads: int) -> Tensor:
    """[B, N, heads * D] to [B, heads, N, D]."""
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)


class ImageAdapter(nn.Module):
    """The picture's words, and keys and values for each cross attention.

    `processors` holds one processor per attention, in diffusers' order (down, up, mid), so an
    index here is the public file format's index N.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.image_proj = ImageProjection()
        self.names = list(unet.attn_processors)
        self.processors = nn.ModuleDict(
            {
                str(n): PictureAttention(unet.get_submodule(name.removesuffix(".processor")))
                for n, name in enumerate(self.names)
                if "attn2" in name
            }
        )

    def install(self, unet: UNet2DConditionModel) -> None:
        """Put the adapter's processors into the U-Net."""
        unet.set_attn_processor(
            {
                name: self.processors[str(n)] if str(n) in self.processors else AttnProcessor2_0()
                for n, name in enumerate(self.names)
            }
        )

    def flat(self) -> Weights:
        """Weights under the public flat names, `ip_adapter.N.to_k_ip.weight` and so on."""
        weights: Weights = {f"image_proj.{k}": v for k, v in self.image_proj.state_dict().items()}
        processor: Any
        for index, processor in self.processors.items():
            weights[f"ip_adapter.{index}.to_k_ip.weight"] = processor.to_k_ip.weight
            weights[f"ip_adapter.{index}.to_v_ip.weight"] = processor.to_v_ip.weight
        return weights


def with_picture(context: Tensor, reference: Reference) -> Any:
    """Text states [B, 77, 64] and a reference as the processors want them."""
    return context, reference
