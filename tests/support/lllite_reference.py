"""ControlNet-LLLite written out by its formula, layer by layer, to compare the control with."""

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.codec import to_hint
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.networks import Call
from tests.support.unet_calls import run

READERS = [f"attn1.to_{part}" for part in "qkv"] + ["attn2.to_q"]


# of the tiny SDXL: a transformer's name in ldm and in diffusers, its depth, its width, its level
BLOCKS = [
    ("input_blocks.4.1", "down_blocks.1.attentions.0", 1, 64, 2),
    ("input_blocks.5.1", "down_blocks.1.attentions.1", 1, 64, 2),
    ("input_blocks.7.1", "down_blocks.2.attentions.0", 2, 128, 3),
    ("input_blocks.8.1", "down_blocks.2.attentions.1", 2, 128, 3),
    ("output_blocks.0.1", "up_blocks.0.attentions.0", 2, 128, 3),
    ("output_blocks.1.1", "up_blocks.0.attentions.1", 2, 128, 3),
    ("output_blocks.2.1", "up_blocks.0.attentions.2", 2, 128, 3),
    ("output_blocks.3.1", "up_blocks.1.attentions.0", 1, 64, 2),
    ("output_blocks.4.1", "up_blocks.1.attentions.1", 1, 64, 2),
    ("output_blocks.5.1", "up_blocks.1.attentions.2", 1, 64, 2),
    ("middle_block.1", "mid_block.attentions.0", 2, 128, 3),
]


PUBLISHED = ("input_blocks", "middle_block")  # what kohya's program trains


def sites_of(parts: Sequence[str] = PUBLISHED) -> dict[str, tuple[int, int]]:
    """Width and level of each layer, by its ldm name, in the blocks that start like this."""
    return {
        f"{name}.transformer_blocks.{k}.{reader}": (width, level)
        for name, _, depth, width, level in BLOCKS
        for k in range(depth)
        for reader in READERS
        if name.startswith(tuple(parts))
    }


FILES = {
    "published": sites_of(),
    "everywhere": sites_of(("input", "output", "middle")),
    "few": {name: of for name, of in sites_of(("output_blocks.3", "middle")).items() if "to_v" in name},
}


class WrittenOut(nn.Module):
    """A linear layer that reads x + sum of w m up(relu(mid([embedding, relu(down(x))]))), for one row."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.terms: list[tuple[Mapping[str, Tensor], Tensor, float, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for weights, embedding, weight, mask in self.terms:
            low = functional.relu(affine(weights, "down.0", x[0]))
            middle = functional.relu(affine(weights, "mid.0", torch.cat([embedding, low], dim=1)))
            total = total + weight * mask * affine(weights, "up.0", middle)
        return self.linear(total)  # type: ignore[no-any-return]


def affine(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def embedding_of(weights: Mapping[str, Tensor], hint: Tensor) -> Tensor:
    """[places, E] from the map in -1..1; where a kernel does not fit, the edge is repeated."""
    kernels = [
        weights[f"conditioning1.{n}.weight"] for n in (0, 2, 4) if f"conditioning1.{n}.weight" in weights
    ]
    stride = math.prod(kernel.shape[2] for kernel in kernels)
    height, width = (math.ceil(side / stride) * stride for side in hint.shape[2:])
    rows = torch.arange(height).clamp(max=hint.shape[2] - 1)
    columns = torch.arange(width).clamp(max=hint.shape[3] - 1)
    found = hint[:, :, rows][:, :, :, columns]
    for place, kernel in enumerate(kernels):
        found = functional.relu(found) if place else found
        bias = weights[f"conditioning1.{2 * place}.bias"]
        found = functional.conv2d(found, kernel, bias, stride=kernel.shape[2])
    return found[0].flatten(1).T


@functools.cache
def weights_of(model: str) -> dict[str, dict[str, Tensor]]:
    """The tensors of one of `FILES`, by the layer that they are for."""
    tensors = lora.lllite_tensors(FILES[model], list(FILES).index(model))
    found: dict[str, dict[str, Tensor]] = {name: {} for name in FILES[model]}
    stems = {f"lllite_unet_{name.replace('.', '_')}": name for name in found}
    for key, value in tensors.items():
        stem, _, rest = key.partition(".")
        found[stems[stem]][rest] = value
    return found


class Reference:
    """A copy of a U-Net that is run row by row, with its layers written out."""

    def __init__(self, unet: Any) -> None:
        self.unet = copy.deepcopy(unet)
        self.layers: dict[str, WrittenOut] = {}
        self.embeddings: dict[tuple[int, str, int, int], Tensor] = {}  # by unit, layer, height and width
        for ldm, diffusers, depth, _, _ in BLOCKS:
            own = ldm if hasattr(unet, "input_blocks") else diffusers
            for k in range(depth):
                for reader in READERS:
                    path = f"{own}.transformer_blocks.{k}.{reader}"
                    parent, _, leaf = path.rpartition(".")
                    layer = WrittenOut(self.unet.get_submodule(path))
                    setattr(self.unet.get_submodule(parent), leaf, layer)
                    self.layers[f"{ldm}.transformer_blocks.{k}.{reader}"] = layer

    def forward(
        self, call: Call, progress: float, units: Sequence[ActiveUnit], cells: Sequence[Any] = ()
    ) -> Tensor:
        rows = []
        for i in range(len(call.rows)):
            for layer in self.layers.values():
                layer.terms = []
            for place, unit in enumerate(units):
                spec = cells[call.rows.image[i]][place] if cells else unit.spec
                self.set_terms(unit, spec, call.row(i), progress)
            rows.append(run(self.unet, call.row(i)))
        return torch.cat(rows)

    def set_terms(self, unit: ActiveUnit, spec: Any, call: Call, progress: float) -> None:
        """One unit's part of each layer that its file names, with the numbers of its spec."""
        if spec.control_mode == "control" and not call.rows.cond[0]:
            return
        sites = FILES[spec.model]
        blocks = [name for name, *_ in BLOCKS if any(site.startswith(f"{name}.") for site in sites)]
        scales = [1.0] * len(blocks)
        if spec.control_mode != "balanced":
            scales = [0.825 ** (len(blocks) - 1 - k) for k in range(len(blocks))]
        if spec.layer_weights is not None:
            scales = [schedule(progress) for schedule in spec.layer_weights]
        inside = spec.guidance_start <= progress < spec.guidance_end
        height, width = (8 * side for side in call.x.shape[2:])
        for name, (_, level) in sites.items():
            weights = weights_of(spec.model)[name]
            scale = scales[blocks.index(name.partition(".transformer")[0])] * spec.schedule(progress) * inside
            mask = mask_of(unit, spec, progress, 2 ** (level - 1))
            self.layers[name].terms.append((weights, self.embedding(unit, name, height, width), scale, mask))

    def embedding(self, unit: ActiveUnit, name: str, height: int, width: int) -> Tensor:
        """[places, E] of one layer at a size of the picture, computed once for each unit."""
        key = (unit.index, name, height, width)
        if key not in self.embeddings:
            hint = to_hint(unit.control.control_map(width, height)) * 2 - 1  # type: ignore[union-attr]
            self.embeddings[key] = embedding_of(weights_of(unit.spec.model)[name], hint)
        return self.embeddings[key]


def mask_of(unit: ActiveUnit, spec: Any, progress: float, factor: int) -> Tensor:
    """[places, 1], or one 1: s m + (1 - s), the mask averaged over blocks."""
    if unit.mask is None:
        return torch.ones(1, 1)
    pixels = torch.from_numpy(np.asarray(unit.mask.convert("L"), dtype=np.float32)) / 255.0
    strength = spec.mask_strength(progress)
    pooled = functional.avg_pool2d(pixels[None], 8 * factor)[0].reshape(-1, 1)
    return strength * pooled + (1 - strength)


UNETS = {"sgm": networks.sgm_unet, "diffusers": calls.sdxl_diffusers}
