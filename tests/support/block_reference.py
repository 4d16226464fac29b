"""Controlled forward passes of the WebUI's U-Nets written out block by block, to compare the session with.

They use no hooks: they run the U-Net's blocks one row at a time, add each residual where the formula
says, and compute attention by its definition.
"""

import copy
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.unit import ActiveUnit
from tests.support.networks import (
    Call,
    ContextNoise,
    FeatureNoise,
    NetworkControl,
    TokenControl,
)

NOTHING: Mapping[int | str, list[Tensor]] = {}
SD_SITES = [f"input_blocks.{i}" for i in (1, 2, 4, 5, 7, 8)]


SD_SITES += [f"output_blocks.{i}" for i in range(3, 12)] + ["middle_block"]


XL_DEPTHS = [("input_blocks.4", 1), ("input_blocks.5", 1), ("input_blocks.7", 2), ("input_blocks.8", 2)]
SD_FEATURES, XL_FEATURES = (2, 5, 8, 11), (3, 5, 8, "mid")


XL_DEPTHS += [(f"output_blocks.{i}", 2 if i < 3 else 1) for i in range(6)] + [("middle_block", 2)]


class DefinedAttention(nn.Module):
    """Cross attention by its definition, with image terms: (keys, values, weight, mask [N, 1]) each.

    `more` are tokens behind the text's: (tokens, weight, mask) each.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.inner = attention
        self.terms: list[tuple[Tensor, Tensor, float, Tensor]] = []
        self.more: list[tuple[Tensor, float, Tensor]] = []

    def forward(self, x: Tensor, context: Tensor, *others: object, **options: object) -> Tensor:
        inner = self.inner
        query = inner.to_q(x)[0]
        text = softmax_attention(query, inner.to_k(context)[0], inner.to_v(context)[0], inner.heads)
        mixed = text
        for tokens, weight, mask in self.more:
            both = torch.cat([context, weight * tokens], dim=1)
            joint = softmax_attention(query, inner.to_k(both)[0], inner.to_v(both)[0], inner.heads)
            mixed = mixed + mask * (joint - text)
        for keys, values, weight, mask in self.terms:
            mixed = mixed + weight * mask * softmax_attention(query, keys, values, inner.heads)
        return inner.to_out(mixed)[None]


def softmax_attention(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """softmax(Q K^T / sqrt d) V, head by head. [N, hidden], [T, hidden] -> [N, hidden]."""
    parts = zip(*(tensor.chunk(heads, dim=1) for tensor in (query, keys, values)), strict=True)
    return torch.cat([torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1) @ v for q, k, v in parts], dim=1)


class Reference:
    """A copy of a U-Net that is run block by block."""

    def __init__(self, unet: Any, site_names: Sequence[str]) -> None:
        self.unet = copy.deepcopy(unet)
        self.embed = import_module("ldm.modules.diffusionmodules.util").timestep_embedding
        self.attentions = []
        self.after: Sequence[int | str] = SD_FEATURES
        for name in site_names:
            block = self.unet.get_submodule(name)
            block.attn2 = DefinedAttention(block.attn2)
            self.attentions.append(block.attn2)

    def forward(self, call: Call, step: int, steps: int, units: Sequence[ActiveUnit]) -> Tensor:
        """The controlled prediction, row by row."""
        rows = [self._row(call.row(i), step, steps, units) for i in range(len(call.rows))]
        return torch.cat(rows)

    def _row(self, call: Call, step: int, steps: int, units: Sequence[ActiveUnit]) -> Tensor:
        added: list[Tensor] = []
        features: dict[int | str, list[Tensor]] = {}
        for attention in self.attentions:
            attention.terms, attention.more = [], []
        for unit in units:
            weight = unit.spec.schedule(step / steps)
            if isinstance(unit.control, TokenControl):
                self._set_tokens(unit, unit.control, weight, call, step / steps)
            elif isinstance(unit.control, NetworkControl):
                parts = weighted_residuals(unit, unit.control, weight, call, step / steps)
                added = [a + b for a, b in zip(added, parts, strict=True)] if added else parts
            elif isinstance(unit.control, ContextNoise) and weight and call.rows.cond[0]:
                self._set_context(unit, unit.control, weight, call, step / steps)
            elif isinstance(unit.control, FeatureNoise):
                found = weighted_features(unit, unit.control, weight, call, step / steps)
                for block, feature in zip(self.after, found, strict=True):
                    features.setdefault(block, []).append(feature)
        return self.blocks(call, added, features)

    def _set_tokens(
        self, unit: ActiveUnit, control: TokenControl, weight: float, call: Call, progress: float
    ) -> None:
        count = len(self.attentions)
        layers = [s(progress) for s in unit.spec.layer_weights or ()] or [1.0] * count
        for place, (attention, layer) in enumerate(zip(self.attentions, layers, strict=True)):
            pair = control.pair(place, attention.inner.to_q.out_features)
            kind = 1 if call.rows.cond[0] else 0
            mask = level_mask(unit, call, attention.level, progress).reshape(-1, 1)
            attention.terms.append((pair.keys[kind], pair.values[kind], weight * layer, mask))

    def _set_context(
        self, unit: ActiveUnit, control: ContextNoise, weight: float, call: Call, progress: float
    ) -> None:
        layers = [s(progress) for s in unit.spec.layer_weights or ()] or [1.0] * len(self.attentions)
        for attention, layer in zip(self.attentions, layers, strict=True):
            mask = level_mask(unit, call, attention.level, progress).reshape(-1, 1)
            if layer:
                attention.more.append((control.extra_tokens(), weight * layer, mask))

    def blocks(
        self, call: Call, added: Sequence[Tensor], features: Mapping[int | str, list[Tensor]] = NOTHING
    ) -> Tensor:
        """The U-Net's forward with residuals added, none or one per layer, and features."""
        unet, extra = self.unet, list(added)
        embedding = unet.time_embed(self.embed(call.timestep, unet.model_channels))
        if getattr(unet, "num_classes", None) is not None:
            embedding = embedding + unet.label_emb(call.vector)
        h, skips = call.x, []
        for number, block in enumerate(unet.input_blocks):
            h = block(h, embedding, call.context)
            for feature in features.get(number, ()):
                h = h + feature
            skips.append(h)
        h = unet.middle_block(h, embedding, call.context)
        for feature in features.get("mid", ()):
            h = h + feature
        if extra:
            h = h + extra.pop()
            skips = [skip + residual for skip, residual in zip(skips, extra, strict=True)]
        for block in unet.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding, call.context)
        return unet.out(h)


def weighted_residuals(
    unit: ActiveUnit, control: NetworkControl, weight: float, call: Call, progress: float
) -> list[Tensor]:
    """One row's residuals times weight, layer weights, mask, and zero on uncond rows in mode control."""
    raw = control.raw(call.x, call.timestep, call.context)
    layers = [*raw.down, raw.mid]
    scales = [1.0] * len(layers)
    if unit.spec.control_mode != "balanced":
        scales = [0.825 ** (len(layers) - 1 - k) for k in range(len(layers))]
    if unit.spec.layer_weights is not None:
        scales = [schedule(progress) for schedule in unit.spec.layer_weights]
    if unit.spec.control_mode == "control" and not call.rows.cond[0]:
        weight = 0.0
    full = call.x.shape[2]
    masks = [level_mask(unit, call, full // layer.shape[2], progress) for layer in layers]
    return [layer * weight * scale * mask for layer, scale, mask in zip(layers, scales, masks, strict=True)]


def weighted_features(
    unit: ActiveUnit, control: FeatureNoise, weight: float, call: Call, progress: float
) -> list[Tensor]:
    """One row's features times weight, softness or layer weights, mask; zero on uncond rows in `control`."""
    spec, full = unit.spec, call.x.shape[2]
    scales = [1.0] * 4 if spec.control_mode == "balanced" else [0.25, 0.62, 0.825, 1.0]
    if spec.layer_weights is not None:
        scales = [schedule(progress) for schedule in spec.layer_weights]
    if spec.control_mode == "control" and not call.rows.cond[0]:
        weight = 0.0
    return [
        weight * scale * feature * level_mask(unit, call, full // feature.shape[2], progress)
        for feature, scale in zip(control.features(full, call.x.shape[3]), scales, strict=True)
    ]


def level_mask(unit: ActiveUnit, call: Call, factor: int, progress: float) -> Tensor:
    """The unit's mask [h, w] averaged over blocks: 8 pixels per latent, `factor` latents per cell.

    It holds back by its strength: s m + (1 - s).
    """
    if unit.mask is None:
        return torch.ones(call.x.shape[2] // factor, call.x.shape[3] // factor)
    pixels = torch.from_numpy(np.asarray(unit.mask.convert("L"), dtype=np.float32)) / 255.0
    strength = unit.spec.mask_strength(progress)
    return strength * nn.functional.avg_pool2d(pixels[None], 8 * factor)[0] + (1 - strength)


def transformer_names(blocks: Sequence[tuple[str, int]]) -> list[str]:
    return [f"{name}.1.transformer_blocks.{k}" for name, depth in blocks for k in range(depth)]


def with_levels(reference: Reference, levels: Sequence[int]) -> Reference:
    """Tell every attention by what factor its grid is smaller than the latent."""
    for attention, level in zip(reference.attentions, levels, strict=True):
        attention.level = level
    return reference
