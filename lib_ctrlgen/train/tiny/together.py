"""Trains U-Net, ControlNets and IP-Adapter together; every row of a batch has its own controls.

The file formats are those of controls trained on a frozen U-Net (ControlNet, arXiv 2302.05543; IP-Adapter,
arXiv 2308.06721), but here the U-Net is trained to follow them at the same time.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from .clip import to_vision, token_ids
from .control import HINTS, hint_tensor
from .data import held_out_scene, sheet
from .ip_adapter import ImageAdapter, Reference, with_picture
from .latents import Latents, pick
from .loop import Batch, Job, Settings
from .sample import sample
from .scenes import Scene, draw, random_scene, same_look
from .unet import FrozenNetworks, noise_loss, noised
from .words import caption, full_caption

STACKS: tuple[tuple[str, ...], ...] = ((), ("edges",), ("depth",), ("edges", "depth"))
STACK_SHARES = (0.76, 0.1, 0.07, 0.07)
LOOK_SHARE = 0.16
FULL_WEIGHT = 0.5  # share of references at weight 1; the others' weights are drawn from 0..1
NO_PICTURE = 0.06
NO_CAPTION = {"plain": 0.1, "led": 0.3}


class JointNetworks(nn.Module):
    """All trained networks in one module; the IP-Adapter's processors are also part of the U-Net."""

    def __init__(self, unet: UNet2DConditionModel, controls: dict[str, ControlNetModel]) -> None:
        super().__init__()
        self.adapter = ImageAdapter(unet)
        self.unet = unet
        self.controls = nn.ModuleDict(controls)
        self.adapter.install(unet)

    def forward(self, noisy: Tensor, steps: Tensor, states: Tensor, data: Batch, embeds: Tensor) -> Tensor:
        """Predict the noise [B, 4, h, w]; `data` says which rows have which controls.

        `data` has `NAME_rows` [R] and `NAME_hint` [R, 3, H, W] for each control and `weight` [B] for the
        adapter; `embeds` [B, 64] are the embeddings of the reference pictures.
        """
        down, mid = self.residuals(noisy, steps, states, data)
        words = Reference(self.adapter.image_proj(embeds), data["weight"])
        predicted: Tensor = self.unet(
            noisy,
            steps,
            with_picture(states, words),
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return predicted

    def residuals(
        self, noisy: Tensor, steps: Tensor, states: Tensor, data: Batch
    ) -> tuple[tuple[Tensor, ...] | None, Tensor | None]:
        """The sum of the controls' residuals for all rows, zero for rows without any; None for no control."""
        total: list[Tensor] = []
        for name, control in self.controls.items():
            rows = data[f"{name}_rows"]
            if not len(rows):
                continue
            down, mid = control(
                noisy[rows], steps[rows], states[rows], data[f"{name}_hint"], return_dict=False
            )
            placed = [_placed(value, rows, len(noisy)) for value in (*down, mid)]
            total = [a + b for a, b in zip(total, placed, strict=True)] if total else placed
        return (tuple(total[:-1]), total[-1]) if total else (None, None)


def _placed(values: Tensor, rows: Tensor, count: int) -> Tensor:
    empty = values.new_zeros((count, *values.shape[1:]))
    return empty.index_add(0, rows, values)


def together_job(
    whole: JointNetworks, vision: CLIPVisionModelWithProjection, frozen: FrozenNetworks, settings: Settings
) -> Job:
    """The job to predict noise from captions, hints and references, alone and combined.

    A reference with weight w shows the scene's own look with probability w squared, else another one, so that
    the likeness to the reference grows gradually with the weight.
    """

    def batch(rng: np.random.Generator) -> Batch:
        store, rows = pick(frozen.stores, rng, settings.batch)
        scenes = [store.scene(row) for row in rows]
        looked = rng.random(len(rows)) < LOOK_SHARE
        stacks = [STACKS[k] for k in rng.choice(len(STACKS), len(rows), p=STACK_SHARES)]
        words = [
            _caption(scene, rng, look=bool(look), led=bool(look) or bool(stack))
            for scene, look, stack in zip(scenes, looked, stacks, strict=True)
        ]
        return {
            "latents": torch.from_numpy(store.values[rows]).float(),
            "ids": token_ids(frozen.tokenizer, words),
            **_hints(store, scenes, stacks),
            **_looks(scenes, looked, rng),
        }

    def loss(data: Batch, generator: torch.Generator) -> Tensor:
        noisy, noise, steps, alphas = noised(data["latents"], generator)
        embeds = _embeds(vision, data["pictures"], data["picture_rows"], len(noisy))
        predicted = whole(noisy, steps, frozen.states(data["ids"]), data, embeds)
        return noise_loss(predicted, noise, alphas)

    def preview(path: Path) -> None:
        rows = [_previewed(whole, vision, frozen, stack, look) for stack, look in PREVIEWS]
        wanted = np.stack([draw(scene, 128)[0] for scene in _shown()])
        cv2.imwrite(str(path), sheet([wanted, *rows])[..., ::-1])

    return Job(name="together", module=whole, batch=batch, loss=loss, settings=settings, preview=preview)


def _caption(scene: Scene, rng: np.random.Generator, look: bool, led: bool) -> str:
    words = caption(scene, rng, looks=not look)
    return "" if rng.random() < NO_CAPTION["led" if led else "plain"] else words


def _hints(store: Latents, scenes: list[Scene], stacks: list[tuple[str, ...]]) -> Batch:
    drawn = {k: draw(scenes[k], store.size) for k, stack in enumerate(stacks) if stack}
    found: Batch = {}
    for name, make in HINTS.items():
        rows = [k for k, stack in enumerate(stacks) if name in stack]
        found[f"{name}_rows"] = torch.tensor(rows, dtype=torch.long)
        found[f"{name}_hint"] = hint_tensor([make(*drawn[k]) for k in rows]) if rows else torch.zeros(0)
    return found


def _looks(scenes: list[Scene], looked: np.ndarray, rng: np.random.Generator) -> Batch:
    """The reference pictures of the rows that have one, and the weight of every row."""
    weight = np.where(rng.random(len(scenes)) < FULL_WEIGHT, 1.0, rng.random(len(scenes))) * looked
    rows = np.flatnonzero(looked)
    sources = [scenes[k] if rng.random() < weight[k] ** 2 else random_scene(rng) for k in rows]
    kept = rng.random(len(rows)) >= NO_PICTURE
    pictures = [draw(same_look(source, rng), 128)[0] for source in sources]
    return {
        "weight": torch.from_numpy(weight.astype(np.float32)),
        "picture_rows": torch.from_numpy(rows[kept]),
        "pictures": to_vision([p for p, keep in zip(pictures, kept, strict=True) if keep])
        if kept.any()
        else torch.zeros(0),
    }


@torch.no_grad()
def _embeds(vision: CLIPVisionModelWithProjection, pictures: Tensor, rows: Tensor, count: int) -> Tensor:
    """Embeddings [count, 64] of references, zero for rows without one."""
    embeds = torch.zeros(count, vision.config.projection_dim)
    if len(rows):
        embeds[rows] = vision(pixel_values=pictures).image_embeds.float()
    return embeds


PREVIEWS: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 0.0),
    (("edges",), 0.0),
    (("depth",), 0.0),
    ((), 0.5),
    ((), 1.0),
    (("edges",), 1.0),
)


def _shown() -> list[Scene]:
    return [held_out_scene(k) for k in range(8)]


def _previewed(
    whole: JointNetworks,
    vision: CLIPVisionModelWithProjection,
    frozen: FrozenNetworks,
    stack: tuple[str, ...],
    weight: float,
) -> np.ndarray:
    """Eight scenes with stacked controls; each reference shows the next scene's look."""
    scenes = _shown()
    looks = [scenes[(k + 1) % len(scenes)] for k in range(len(scenes))]
    rng = np.random.default_rng(0)
    plain = [full_caption(s) if weight == 0 else caption(s, rng, drop=0.0, looks=False) for s in scenes]
    context = frozen.context([""] * 8 + plain)
    maps = {name: hint_tensor([make(*draw(s, 128)) for s in scenes]) for name, make in HINTS.items()}
    data: Batch = {"weight": torch.full((16,), weight)}
    for name, hint in maps.items():
        data[f"{name}_rows"] = torch.arange(16 if name in stack else 0)
        data[f"{name}_hint"] = hint.repeat(2, 1, 1, 1)
    pictures = to_vision([draw(s, 128)[0] for s in looks])
    embeds = _embeds(vision, pictures, torch.arange(8, 16), 16)
    return sample(lambda x, t: whole(x, t.expand(16), context, data, embeds), frozen.vae, range(8))
