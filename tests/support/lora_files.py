"""Random ControlLoRA and ControlNet-LLLite files, written from a U-Net's ldm names alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support.networks import VECTOR
from tests.support.unet_calls import port_of

RANK = 5
MIDDLE, EMBEDDING = 6, 4
KERNELS = {1: (4, 2), 2: (4, 4), 3: (4, 4, 2)}  # of an LLLite's encoder, by the level it is for
HINT = [
    (3, 8),
    (8, 8),
    (8, 8),
    (8, 8),
    (8, 16),
    (16, 16),
    (16, 16),
]  # channels of input_hint_block, but for the last
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")


def loaded(
    folder: Path, unet: Any, *specs: Mapping[str, Any], store: ModelStore | None = None
) -> list[ActiveUnit]:
    """Units of a request, loaded for a U-Net from a folder, or from a store that may hold them already."""
    payload = [{"image": files.data_url(seed=place), **spec} for place, spec in enumerate(specs)]
    units = parse_request({"units": payload}).units
    target = Target(store=store or ModelStore([folder], 1 << 30), shape=port_of(unet).shape, unet=unet)
    return list(load_units(units, target))


def encoder(unet: Any) -> dict[str, Tensor]:
    """The parameters that a ControlNet shares with a U-Net, by their ldm names."""
    if hasattr(unet, "input_blocks"):
        return {key: value for key, value in unet.named_parameters() if key.startswith(ENCODER)}
    ours = ("time_embedding.", "add_embedding.", "conv_in.", "down_blocks.", "mid_block.")
    named = {key: value for key, value in unet.named_parameters() if key.startswith(ours)}
    return {ldm_name(key): value for key, value in named.items()}


LABEL = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}


def ldm_name(key: str) -> str:
    stem, _, leaf = key.rpartition(".")
    return f"{LABEL[stem]}.{leaf}" if stem in LABEL else files.ldm_name(key, 2)


def lora_tensors(base: Mapping[str, Tensor], channels: Sequence[int], seed: int) -> dict[str, Tensor]:
    """A ControlLoRA for a U-Net with these parameters, and residuals of these channels.

    Factors for each matrix and convolution, as the official tool extracts them; the rest in full.
    """
    random = torch.Generator().manual_seed(seed)
    found = {"lora_controlnet": torch.tensor([])}

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random) * 0.08

    for key, value in base.items():
        if value.ndim < 2:
            found[key] = value.detach() + noise(*value.shape)
            continue
        out, *rest = value.shape
        rank, stem = min(RANK, out, rest[0]), key.removesuffix(".weight")
        found[f"{stem}.up"] = noise(out, rank, *[1] * (value.ndim - 2))
        found[f"{stem}.down"] = noise(rank, *rest)
    for place, (before, after) in enumerate([*HINT, (16, channels[0])]):
        found[f"input_hint_block.{2 * place}.weight"] = noise(after, before, 3, 3)
        found[f"input_hint_block.{2 * place}.bias"] = noise(after)
    names = [*(f"zero_convs.{place}.0" for place in range(len(channels) - 1)), "middle_block_out.0"]
    for name, width in zip(names, channels, strict=True):
        found |= {f"{name}.weight": noise(width, width, 1, 1), f"{name}.bias": noise(width)}
    return found


def dense(base: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a ControlLoRA stands for, W + up down, in float64 and then rounded."""
    found = {key: value.detach() for key, value in base.items()}
    found |= {key: value for key, value in tensors.items() if not key.endswith((".up", ".down"))}
    del found["lora_controlnet"]
    for key in tensors:
        stem = key.removesuffix(".up")
        if key.endswith(".up"):
            weight = base[f"{stem}.weight"].detach()
            product = tensors[key].double().flatten(1) @ tensors[f"{stem}.down"].double().flatten(1)
            found[f"{stem}.weight"] = (weight.double() + product.reshape(weight.shape)).float()
    return found


def lllite_tensors(sites: Mapping[str, tuple[int, int]], seed: int) -> dict[str, Tensor]:
    """An LLLite for layers by their ldm names, each with its width and its level 1..3."""
    random, found = torch.Generator().manual_seed(seed), {}
    for name, (width, level) in sites.items():
        stem = f"lllite_unet_{name.replace('.', '_')}"
        channels = [3, *[EMBEDDING // 2] * (len(KERNELS[level]) - 1), EMBEDDING]
        shapes: dict[str, tuple[int, ...]] = {
            f"conditioning1.{2 * place}": (channels[place + 1], channels[place], size, size)
            for place, size in enumerate(KERNELS[level])
        }
        shapes |= {"down.0": (MIDDLE, width), "mid.0": (MIDDLE, MIDDLE + EMBEDDING), "up.0": (width, MIDDLE)}
        for part, shape in shapes.items():
            found[f"{stem}.{part}.weight"] = torch.randn(shape, generator=random) * 0.3
            found[f"{stem}.{part}.bias"] = torch.randn(shape[0], generator=random) * 0.3
    return found


def save(tensors: Mapping[str, Tensor], path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def snapshot(module: nn.Module) -> dict[str, tuple[int, int, Tensor]]:
    """Every parameter of a module: which object it is, where it is stored, and its values."""
    return {
        name: (id(value), value.data_ptr(), value.detach().clone())
        for name, value in module.named_parameters()
    }


def assert_untouched(module: nn.Module, before: Mapping[str, tuple[int, int, Tensor]]) -> None:
    now = snapshot(module)
    assert now.keys() == before.keys()
    for name, (identity, place, values) in before.items():
        assert now[name][:2] == (identity, place)
        assert torch.equal(now[name][2], values)


VECTOR_CONFIG: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": VECTOR + 6 * 256,
}
