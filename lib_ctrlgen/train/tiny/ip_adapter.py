"""The IP-Adapter, which takes colours and texture from a reference picture (arXiv 2308.06721)."""

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
    """Image tokens [B, 4, 64] of reference pictures, and the weight [B] of each row."""

    words: Tensor
    weight: Tensor


class PictureAttention(nn.Module):
    """Decoupled cross attention to text and image tokens, with a weight for each row."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(CONTEXT, attention.inner_dim, bias=False)
        self.to_v_ip = nn.Linear(CONTEXT, attention.inner_dim, bias=False)
        with torch.no_grad():  # initialised with the weights for the text
            self.to_k_ip.weight.copy_(attention.to_k.weight)
            self.to_v_ip.weight.copy_(attention.to_v.weight)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: tuple[Tensor, Reference],
        attention_mask: None = None,
    ) -> Tensor:
        """Hidden states [B, N, C] and (text [B, T, 64], reference) to hidden states [B, N, C]."""
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
    """Reshape [B, N, heads * D] to [B, heads, N, D]."""
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)


class ImageAdapter(nn.Module):
    """The image projection, and the image keys and values of each cross attention.

    `processors` has one processor per cross attention. Its keys are numbers in diffusers' order of all
    attentions (down, up, mid), which are the numbers N of the published file format.
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
        """Set the adapter's processors on the U-Net."""
        unet.set_attn_processor(
            {
                name: self.processors[str(n)] if str(n) in self.processors else AttnProcessor2_0()
                for n, name in enumerate(self.names)
            }
        )

    def flat(self) -> Weights:
        """The weights under the published flat names, such as `ip_adapter.1.to_k_ip.weight`."""
        weights: Weights = {f"image_proj.{k}": v for k, v in self.image_proj.state_dict().items()}
        processor: Any
        for index, processor in self.processors.items():
            weights[f"ip_adapter.{index}.to_k_ip.weight"] = processor.to_k_ip.weight
            weights[f"ip_adapter.{index}.to_v_ip.weight"] = processor.to_v_ip.weight
        return weights


def with_picture(context: Tensor, reference: Reference) -> Any:
    """Text states [B, 77, 64] and a reference in the form that the processors read."""
    return context, reference
