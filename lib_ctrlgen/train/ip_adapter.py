"""The IP-Adapter: colours and texture from a reference picture (arXiv 2308.06721)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from lib_ctrlgen.train.clip import to_vision, token_ids
from lib_ctrlgen.train.data import held_out_scene, sheet
from lib_ctrlgen.train.latents import pick
from lib_ctrlgen.train.layouts import Weights
from lib_ctrlgen.train.loop import Batch, Job, Settings
from lib_ctrlgen.train.networks import CONTEXT, IP_TOKENS, ImageProjection
from lib_ctrlgen.train.sample import sample
from lib_ctrlgen.train.scenes import Scene, draw, same_look
from lib_ctrlgen.train.unet import Frozen, noise_loss, noised
from lib_ctrlgen.train.words import caption

NO_PICTURE = 0.05
NO_CAPTION = 0.2


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
            {str(n): _processor(unet, name) for n, name in enumerate(self.names) if "attn2" in name}
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
            weights[f"ip_adapter.{index}.to_k_ip.weight"] = processor.to_k_ip[0].weight
            weights[f"ip_adapter.{index}.to_v_ip.weight"] = processor.to_v_ip[0].weight
        return weights


def _processor(unet: UNet2DConditionModel, name: str) -> IPAdapterAttnProcessor2_0:
    """A processor whose keys and values start as the text's own."""
    attention = unet.get_submodule(name.removesuffix(".processor"))
    made = IPAdapterAttnProcessor2_0(
        hidden_size=attention.inner_dim, cross_attention_dim=CONTEXT, num_tokens=(IP_TOKENS,)
    )
    with torch.no_grad():
        made.to_k_ip[0].weight.copy_(attention.to_k.weight)
        made.to_v_ip[0].weight.copy_(attention.to_v.weight)
    return made


def with_picture(context: Tensor, words: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Text states [B, 77, 64] and picture words [B, 4, 64] as the processors want them."""
    return context, [words[:, None]]


def adapter_job(
    adapter: ImageAdapter,
    unet: UNet2DConditionModel,
    vision: CLIPVisionModelWithProjection,
    frozen: Frozen,
    settings: Settings,
) -> Job:
    """Learn colours and texture from another scene of the same look (cross-view pairs)."""

    @torch.no_grad()
    def words(pictures: Tensor, kept: Tensor) -> Tensor:
        embeds: Tensor = vision(pixel_values=pictures).image_embeds
        return embeds.float() * kept[:, None]

    def batch(rng: np.random.Generator) -> Batch:
        store, rows = pick(frozen.stores, rng, settings.batch)
        scenes = [store.scene(row) for row in rows]
        looks = [draw(same_look(scene, rng), 128)[0] for scene in scenes]
        return {
            "latents": torch.from_numpy(store.values[rows]).float(),
            "ids": token_ids(frozen.tokenizer, [_plain_caption(scene, rng) for scene in scenes]),
            "picture": to_vision(looks),
            "kept": torch.from_numpy((rng.random(len(rows)) >= NO_PICTURE).astype(np.float32)),
        }

    def loss(data: Batch, generator: torch.Generator) -> Tensor:
        noisy, noise, steps, alphas = noised(data["latents"], generator)
        tokens = adapter.image_proj(words(data["picture"], data["kept"]))
        context = with_picture(frozen.states(data["ids"]), tokens)
        return noise_loss(unet(noisy, steps, context).sample, noise, alphas)

    def preview(path: Path) -> None:
        scenes = [held_out_scene(k) for k in range(8)]
        drawn = np.stack([draw(scene, 128)[0] for scene in scenes])
        embeds = words(to_vision(list(drawn)), torch.ones(8))
        tokens = adapter.image_proj(torch.cat([torch.zeros_like(embeds), embeds]))
        captions = [_plain_caption(held_out_scene(50 + k), np.random.default_rng(k)) for k in range(8)]
        context = with_picture(frozen.context([""] * 8 + captions), tokens)
        made = sample(lambda x, t: unet(x, t, context).sample, frozen.vae, range(8))
        cv2.imwrite(str(path), sheet([drawn, made])[..., ::-1])

    return Job(name="ip", module=adapter, batch=batch, loss=loss, settings=settings, preview=preview)


def _plain_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Words without a look, or none."""
    return "" if rng.random() < NO_CAPTION else caption(scene, rng, looks=False)
