"""Trains the U-Net to predict noise from captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .clip import token_ids
from .data import held_out_scene, sheet
from .latents import Latents, pick
from .loop import Batch, Job, Settings
from .networks import new_schedule
from .sample import sample
from .scenes import draw
from .words import caption, full_caption

SNR_SHIFT = 0.05
FLOOR = 0.15
OFFSET = 0.15
EARLY = 0.7
NO_CAPTION = 0.1


@dataclass(frozen=True, kw_only=True)
class FrozenNetworks:
    """Networks from earlier stages, which the U-Net's training only uses."""

    vae: AutoencoderKL
    text: CLIPTextModel
    tokenizer: CLIPTokenizer
    stores: list[Latents]

    @torch.no_grad()
    def context(self, captions: Sequence[str]) -> Tensor:
        """Encode captions to text states [B, 77, 64]."""
        return self.states(token_ids(self.tokenizer, captions))

    @torch.no_grad()
    def states(self, ids: Tensor) -> Tensor:
        """Encode ids [B, 77] to text states [B, 77, 64]."""
        states: Tensor = self.text(input_ids=ids).last_hidden_state
        return states.float()


def noise_loss(predicted: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """The squared error of the noise, each row weighted with 1 / (SNR + 0.05) + 0.15; `alphas` is [B].

    This is P2 weighting (arXiv 2204.00227) with a small k. Without it a small network hardly learns colours
    and layout, which are decided at the highest noise levels.
    """
    snr = alphas / (1 - alphas)
    errors = (predicted.float() - noise).square().mean((1, 2, 3))
    return (errors * (1 / (snr + SNR_SHIFT) + FLOOR)).mean()


def noised(latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents, the noise, timesteps [B] spread over the batch, and their alphas_cumprod [B].

    Timesteps with little noise, at which words have little influence, are drawn less often. At the last
    timestep the noisy latents still contain a part of the latents' mean; a small random offset of the noise
    hides it, because otherwise the network would read the background's colour from it instead of from the
    caption.
    """
    schedule = new_schedule()
    count = len(latents)
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    steps = (1000 * strata**EARLY).long().clamp(max=999)[torch.randperm(count, generator=generator)]
    offset = torch.randn(latents.shape[:2], generator=generator)[:, :, None, None]
    noise = torch.randn(latents.shape, generator=generator) + OFFSET * offset
    return schedule.add_noise(latents, noise, steps), noise, steps, schedule.alphas_cumprod[steps]


def unet_job(
    name: str,
    unet: UNet2DConditionModel,
    frozen: FrozenNetworks,
    settings: Settings,
    train_text: bool = False,
) -> Job:
    """The job to predict the noise in latents [B, 4, h, w] from captions.

    With `train_text` the text encoder is trained too, so that its states bind colours to shapes.
    """
    trained = nn.ModuleDict({"unet": unet, "text": frozen.text}) if train_text else unet

    def batch(rng: np.random.Generator) -> Batch:
        store, rows = pick(frozen.stores, rng, settings.batch)
        words = [caption(store.scene(row), rng) for row in rows]
        kept = ["" if rng.random() < NO_CAPTION else text for text in words]
        return {
            "latents": torch.from_numpy(store.values[rows]).float(),
            "ids": token_ids(frozen.tokenizer, kept),
        }

    def loss(data: Batch, generator: torch.Generator) -> Tensor:
        noisy, noise, steps, alphas = noised(data["latents"], generator)
        states = frozen.text(input_ids=data["ids"]).last_hidden_state
        return noise_loss(unet(noisy, steps, states).sample, noise, alphas)

    def preview(path: Path) -> None:
        scenes = [held_out_scene(k) for k in range(8)]
        context = frozen.context([""] * 8 + [full_caption(scene) for scene in scenes])
        made = sample(lambda x, t: unet(x, t, context).sample, frozen.vae, range(8))
        wanted = np.stack([draw(scene, 128)[0] for scene in scenes])
        cv2.imwrite(str(path), sheet([wanted, made])[..., ::-1])

    return Job(name=name, module=trained, batch=batch, loss=loss, settings=settings, preview=preview)
