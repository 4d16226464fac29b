"""ControlNets: a copy of the encoder learns edges or depth, the U-Net stays (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.train.clip import token_ids
from lib_ctrlgen.train.data import held_out_scene, sheet, training_scene
from lib_ctrlgen.train.latents import pick
from lib_ctrlgen.train.loop import Batch, Job, Settings
from lib_ctrlgen.train.sample import Predict, sample
from lib_ctrlgen.train.scenes import Image, draw
from lib_ctrlgen.train.unet import Frozen, noise_loss, noised
from lib_ctrlgen.train.words import caption, full_caption

NO_CAPTION = 0.3

HintMaker = Callable[[Image, Image], Image]


def edge_hint(picture: Image, _depth: Image) -> Image:
    """Canny 100/200 at the picture's own size, white on black [H, W]."""
    return np.asarray(cv2.Canny(picture, 100, 200), np.uint8)


def depth_hint(_picture: Image, depth: Image) -> Image:
    """Depth [H, W], nearer = brighter."""
    return depth


HINTS: Mapping[str, HintMaker] = MappingProxyType({"edges": edge_hint, "depth": depth_hint})


def hint_tensor(hints: list[Image]) -> Tensor:
    """Maps [B][H, W] to hints [B, 3, H, W] in 0..1."""
    stacked = torch.from_numpy(np.stack(hints)).float() / 255
    return stacked[:, None].repeat(1, 3, 1, 1)


@torch.no_grad()
def awaken(control: ControlNetModel, make_hint: HintMaker) -> None:
    """Scale the hint convolutions so that each one's output has deviation 1 on real hints.

    Layer-sequential unit variance (arXiv 1511.06422). From the usual start, with its zero at the
    end, thin lines fade away over eight layers, and nothing is learned for hundreds of steps.
    """
    embedding = control.controlnet_cond_embedding
    scenes = [training_scene(np.random.default_rng(k)) for k in range(16)]
    values = hint_tensor([make_hint(*draw(scene, 128)) for scene in scenes])
    torch.nn.init.orthogonal_(embedding.conv_out.weight)
    for layer in (embedding.conv_in, *embedding.blocks, embedding.conv_out):
        layer.bias.zero_()
        layer.weight /= layer(values).std()
        values = functional.silu(layer(values))
    embedding.conv_out.weight *= 0.5


def controlled(
    unet: UNet2DConditionModel, control: ControlNetModel, context: Tensor, hint: Tensor
) -> Predict:
    """The U-Net under a ControlNet at weight 1."""

    def predict(latents: Tensor, steps: Tensor) -> Tensor:
        down, mid = control(latents, steps, context, hint, return_dict=False)
        noise: Tensor = unet(
            latents,
            steps,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return noise

    return predict


def control_job(
    name: str,
    make_hint: HintMaker,
    parts: tuple[UNet2DConditionModel, ControlNetModel],
    frozen: Frozen,
    settings: Settings,
) -> Job:
    """Learn to follow hints; the U-Net in `parts` must be frozen."""
    unet, control = parts

    def batch(rng: np.random.Generator) -> Batch:
        store, rows = pick(frozen.stores, rng, settings.batch)
        scenes = [store.scene(row) for row in rows]
        kept = ["" if rng.random() < NO_CAPTION else caption(scene, rng) for scene in scenes]
        return {
            "latents": torch.from_numpy(store.values[rows]).float(),
            "ids": token_ids(frozen.tokenizer, kept),
            "hint": hint_tensor([make_hint(*draw(scene, store.size)) for scene in scenes]),
        }

    def loss(data: Batch, generator: torch.Generator) -> Tensor:
        noisy, noise, steps, alphas = noised(data["latents"], generator)
        predict = controlled(unet, control, frozen.states(data["ids"]), data["hint"])
        return noise_loss(predict(noisy, steps), noise, alphas)

    def preview(path: Path) -> None:
        scenes = [held_out_scene(k) for k in range(8)]
        drawn = [draw(scene, 128) for scene in scenes]
        maps = [make_hint(*pair) for pair in drawn]
        # The captions come from other scenes: only the hint tells the layout.
        others = [held_out_scene(100 + k) for k in range(8)]
        context = frozen.context([""] * 8 + [full_caption(scene) for scene in others])
        hint = hint_tensor(maps).repeat(2, 1, 1, 1)
        made = sample(controlled(unet, control, context, hint), frozen.vae, range(8))
        shown = np.stack([np.repeat(hint_map[..., None], 3, 2) for hint_map in maps])
        cv2.imwrite(str(path), sheet([shown, made])[..., ::-1])

    return Job(name=name, module=control, batch=batch, loss=loss, settings=settings, preview=preview)
