"""What a training costs: memory, from the shapes of a pass, the disk, and the time (see `time_cost`)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import asdict
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.memory import GB, memory_of, memory_type
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_check import TrainingTimes

from .loop import Loop
from .methods.lora_layers import TRANSFORMER

STATES = 5  # float32 numbers per trained one: weight, gradient, AdamW's two averages, the best weights
TEXT = 77
FILES = 2  # in the cache for each picture: its latents, and its caption or features
NOT_TIMED = TrainingTimes()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Bytes of memory beyond the loaded networks, the bytes that are free, trained numbers, seconds.

    times       of the parts of the training
    disk        bytes that the run's folder needs: checkpoints and cached pictures
    disk_free   bytes that are free there, None if that is not known
    """

    weights: int
    activations: int
    free: int | None
    parameters: int
    memory: str
    times: TrainingTimes = NOT_TIMED
    disk: int = 0
    disk_free: int | None = None

    @property
    def bytes(self) -> int:
        """What the training needs beyond the networks."""
        return self.weights + self.activations

    def __str__(self) -> str:
        free = "" if self.free is None else f" ({self.free / GB:.1f} GB are free)"
        return (
            f"about {max(self.bytes / GB, 0.1):.1f} GB of {self.memory} memory beyond the model{free}, "
            f"{time_text(self.times)}, about {max(self.disk / GB, 0.1):.1f} GB of disk"
        )


def memory_cost(spec: TrainingSpec, loop: Loop) -> Cost:
    """The memory of a training, not yet its time. Raises RequestError if it cannot fit."""
    count = sum(each.numel() for each in loop.parameters)
    memory = memory_type(loop.base.device)
    found = memory_of(memory)
    cost = Cost(
        weights=4 * count * (STATES + bool(spec.ema)),
        activations=activation_bytes(spec, loop),
        free=None if found is None else found.available,
        parameters=count,
        memory="GPU" if memory == "cuda" else "main",
    )
    if cost.free is not None and cost.bytes > cost.free:
        advice = "" if spec.checkpointing else ", set checkpointing"
        raise RequestError(
            "$.batch",
            f"the training needs about {cost.bytes / GB:.1f} GB of {cost.memory} memory beyond the model, "
            f"and {cost.free / GB:.1f} GB are free: take a smaller batch (with accumulation) or "
            f"resolution{advice}",
        )
    return cost


def disk_cost(cost: Cost, out: Path, cache: Path, pictures: int) -> Cost:
    """The same with the disk space: of checkpoints, and of `pictures` like those that are in the cache.

    A checkpoint holds the trained numbers, AdamW's averages, the average and the best weights, and is written
    beside the one before. Raises RequestError if there is too little space where `out` is written.
    """
    sizes = [path.stat().st_size for path in cache.rglob("*") if path.is_file()]
    encoded = int(FILES * pictures * sum(sizes) / max(len(sizes), 1))
    needed = 2 * 4 * cost.parameters * STATES + encoded
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise RequestError(
            "$.out",
            f"the training needs about {needed / GB:.1f} GB in {place}, where {free / GB:.1f} GB are free: "
            "make room, or write to another disk",
        )
    return replace(cost, disk=needed, disk_free=free)


def activation_bytes(spec: TrainingSpec, loop: Loop) -> int:
    """An estimate of what the backward pass keeps: counted in a U-Net of the same shape without data."""
    height, width = loop.sources[0][0].largest
    unet = loop.base.networks.unet
    kept, blocks = _kept(unet, spec.batch, height, width)
    size = torch.finfo(loop.base.dtype).bits / 32
    return int(kept * size * (2 / blocks if spec.checkpointing else 1))


def _kept(unet: Any, batch: int, height: int, width: int) -> tuple[int, int]:
    """The float32 bytes kept for the backward pass of a LoRA, and the number of the U-Net's blocks."""
    with torch.device("meta"):
        shaped = type(unet).from_config(unet.config)
        inputs = _inputs(unet, batch, height, width)
    for name, parameter in shaped.named_parameters():
        parameter.requires_grad_(bool(TRANSFORMER.fullmatch(name.rpartition(".")[0])))
    own = {parameter.untyped_storage()._cdata for parameter in shaped.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        shaped(**inputs)
    blocks = len(shaped.down_blocks) + len(shaped.up_blocks) + 1
    return sum(size for size, _ in kept.values()), blocks


def _inputs(unet: Any, batch: int, height: int, width: int) -> dict[str, Any]:
    config = unet.config
    inputs: dict[str, Any] = {
        "sample": torch.empty(batch, config.in_channels, height, width),
        "timestep": torch.ones(batch),
        "encoder_hidden_states": torch.empty(batch, TEXT, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        sizes = 6 * config.addition_time_embed_dim
        pooled = unet.add_embedding.linear_1.in_features - sizes
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.empty(batch, pooled),
            "time_ids": torch.ones(batch, 6),
        }
    return inputs


def time_text(times: TrainingTimes) -> str:
    """The time of a training in words, with its parts; parts of less than half a second are not named.

    >>> time_text(TrainingTimes(prior=0.0, encoding=20.0, steps=570.0, validations=190.0))
    'about 13 min (20 s to encode the pictures, 10 min for the steps, 3 min for the validations)'
    """
    words = {
        "prior": "to make the prior's pictures",
        "encoding": "to encode the pictures",
        "steps": "for the steps",
        "validations": "for the validations",
    }
    parts = [
        f"{duration(seconds)} {words[name]}" for name, seconds in asdict(times).items() if seconds >= 0.5
    ]
    return f"about {duration(times.total)}" + (f" ({', '.join(parts)})" if parts else "")


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
