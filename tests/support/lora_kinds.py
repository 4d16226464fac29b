"""Random LoRA files of every kind and layout for the layers of a network."""

import re
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_ctrlgen.models.loras.names import Part, kohya_key

RANK = 4
SIZE = 0.3


class Random:
    """Random tensors from one seed, of the magnitude of a trained LoRA's."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * SIZE


def lora(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """Down and up; of a convolution down has the kernel, as LoCon without CP decomposition."""
    kernel = weight.shape[2:]
    up = random(len(weight), RANK, *[1] * len(kernel))
    down = random(RANK, weight.shape[1], *kernel)
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}


def cp(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """LoCon with CP decomposition: a core with the kernel between 1x1 convolutions."""
    if weight.ndim == 2 or prod(weight.shape[2:]) == 1:
        return lora(weight, random)
    down, up = random(RANK, weight.shape[1], 1, 1), random(len(weight), RANK, 1, 1)
    core = random(RANK, RANK, *weight.shape[2:])
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": core, "alpha": torch.tensor(3)}


def dora(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """A LoRA with DoRA's norms, one for each input channel."""
    norms = weight.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.ndim - 2))
    return {**lora(weight, random), "dora_scale": norms * (1 + random(*norms.shape))}


def loha(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """A Hadamard product of two products; of a 3x3 convolution with cores."""
    out, width = len(weight), weight.shape[1]
    found = {"alpha": torch.tensor(2.0)}
    for number in (1, 2):
        if weight.ndim == 4 and prod(weight.shape[2:]) > 1:
            shapes = {"w{}_a": (RANK, out), "w{}_b": (RANK, width), "t{}": (RANK, RANK, *weight.shape[2:])}
        else:
            shapes = {"w{}_a": (out, RANK), "w{}_b": (RANK, width)}
        found |= {f"hada_{name.format(number)}": random(*shape) * 1.5 for name, shape in shapes.items()}
    return found


def lokr(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """A Kronecker product of a whole factor 2x2 and a low-rank one."""
    out, width = len(weight) // 2, weight.shape[1] // 2
    if weight.ndim == 4:
        second = {"lokr_w2": random(out, width, *weight.shape[2:])}
    else:
        second = {"lokr_w2_a": random(out, RANK), "lokr_w2_b": random(RANK, width)}
    return {"lokr_w1": random(2, 2) * 0.5, "alpha": torch.tensor(2.0), **second}


def ia3(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """A factor for each input channel."""
    return {"weight": random(weight.shape[1]), "on_input": torch.tensor(True)}


def ia3_out(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """A factor for each output channel."""
    return {"weight": random(len(weight)), "on_input": torch.tensor(False)}


def glora(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """Of linear layers: a product of its own, and one with the weight."""
    out, width = weight.shape
    shapes = {"a1": (RANK, width), "a2": (width, RANK), "b1": (RANK, width), "b2": (out, RANK)}
    return {f"{name}.weight": random(*shape) for name, shape in shapes.items()} | {"alpha": torch.tensor(1.0)}


def full(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """The whole difference of weight and bias."""
    return {"diff": random(*weight.shape) * 0.3, "diff_b": random(len(weight)) * 0.3}


def norm(weight: Tensor, random: Random) -> dict[str, Tensor]:
    """The difference of a normalisation's weight and bias."""
    return {"w_norm": random(*weight.shape), "b_norm": random(*weight.shape)}


KINDS: dict[str, Callable[[Tensor, Random], dict[str, Tensor]]] = {
    "lora": lora, "cp": cp, "dora": dora, "loha": loha, "lokr": lokr, "ia3": ia3, "ia3-out": ia3_out,
    "glora": glora, "full": full, "norm": norm,
}  # fmt: skip
LINEAR_ONLY = ("glora", "ia3", "ia3-out")
ATTENTION = r"attn[12]\.to_[qkv]$"
LAYERS = rf"{ATTENTION}|to_out\.0|proj_in|proj_out|conv1$|in_layers\.2$|downsamplers\.0\.conv|\.op$|ff\.net"
TEXT = r"(?:[qkv]_proj|out_proj|fc[12])$"


def layers(network: nn.Module, pattern: str, kind: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a network whose path matches and that a kind of change is for."""
    types: Any = (nn.Linear, nn.Conv2d)
    if kind in LINEAR_ONLY:
        types = nn.Linear
    if kind == "norm":
        types, pattern = (nn.GroupNorm, nn.LayerNorm), r"norm(?!_out)"  # the WebUI overlooks conv_norm_out
    for path, module in network.named_modules():
        if isinstance(module, types) and re.search(pattern, path):
            yield path, module


def kohya(
    network: nn.Module, part: Part = "unet", kind: str = "lora", pattern: str = LAYERS, seed: int = 0
) -> dict[str, Tensor]:
    """The tensors of a file in kohya's layout for one network, named after its own modules."""
    random, found = Random(seed), {}
    for path, module in layers(network, pattern, kind):
        name = path if part == "unet" else f"text_model.{path.removeprefix('text_model.')}"
        for piece, tensor in KINDS[kind](module.weight.detach().float(), random).items():
            if piece != "diff_b" or module.bias is not None:  # the WebUI breaks at a bias that a layer lacks
                found[f"{kohya_key(part, name)}.{piece}"] = tensor
    return found


def write(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    """Write a safetensors file."""
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, str(path), metadata or None)
    return path
