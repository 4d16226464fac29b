"""An IP-Adapter as a network that can be trained: its head, and keys and values as attention processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from lib_ctrlgen.controls.ip_adapter.file import IMAGE, LAYER, AdapterWeights, load_adapter
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.models.clip_vision import Feature
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.tensor_files import read_tensors

Tensors = dict[str, Tensor]


class AdapterNetwork(nn.Module):
    """An IP-Adapter in float32, frozen until a part of it is chosen for training.

    head     the projection from a vision encoder's feature to image tokens [B, T, X]
    layers   one processor of diffusers per cross attention, with `to_k_ip` and `to_v_ip`
    numbers  the number N of each layer in the file's keys, `ip_adapter.N.to_k_ip.weight`
    feature  what the head reads of the vision encoder, and `width` its channels
    """

    def __init__(self, weights: AdapterWeights, numbers: tuple[int, ...]) -> None:
        super().__init__()
        self.head: Any = weights.projection
        self.numbers = numbers
        self.feature: Feature = weights.feature
        self.width = weights.width
        self.layers = nn.ModuleList([_processor(keys, values) for keys, values in weights.layers])
        self.requires_grad_(requires_grad=False)

    @classmethod
    def read(cls, path: Path, device: torch.device) -> AdapterNetwork:
        """The adapter of a file. Raises ModelError for an incomplete one."""
        weights = load_adapter(path, Placement(device=device, dtype=torch.float32))
        numbers = sorted(int(match[1]) for key in read_tensors(path) if (match := LAYER.fullmatch(key)))
        return cls(weights, tuple(numbers))

    @property
    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers of keys and values by their names in the file, such as `1.to_k_ip`."""
        return {
            f"{number}.{name}": getattr(layer, name)[0]
            for number, layer in zip(self.numbers, self.layers, strict=True)
            for name in ("to_k_ip", "to_v_ip")
        }

    @property
    def widths(self) -> list[int]:
        """The hidden width of each layer."""
        return [linear.out_features for name, linear in self.linears.items() if name.endswith("to_k_ip")]

    @property
    def tokens(self) -> int:
        """How many image tokens the head makes of one picture; 0 where it makes one of each feature."""
        latents = getattr(self.head, "latents", None)
        return int(getattr(self.head, "tokens", 0) if latents is None else latents.shape[1])

    def tensors(self) -> Tensors:
        """The weights as they act now, under the names of published files, in float32 on the CPU."""
        found = {f"{IMAGE}{name}": value for name, value in effective(self.head).items()}
        for name, linear in self.linears.items():
            found[f"ip_adapter.{name}.weight"] = linear.weight
        return {name: value.detach().float().cpu().contiguous().clone() for name, value in found.items()}

    @contextmanager
    def installed(self, unet: Any) -> Iterator[None]:
        """Put the processors on the U-Net's cross attentions in the block; those before are back at the exit.

        Cross attention then reads `(text [B, N, X], [image tokens [B, T, X]])`.
        Raises HostError unless there are as many cross attentions as layers.
        """
        before = dict(unet.attn_processors)
        names = [name for name in before if ".attn2." in name]
        if len(names) != len(self.layers):
            raise HostError(f"the U-Net has {len(names)} cross attentions, the IP-Adapter {len(self.layers)}")
        with processors(unet, {**before, **dict(zip(names, self.layers, strict=True))}):
            yield


@contextmanager
def processors(unet: Any, wanted: Mapping[str, Any]) -> Iterator[None]:
    """Give the U-Net other attention processors in the block; those before are back at the exit."""
    before = dict(unet.attn_processors)
    try:
        unet.set_attn_processor(dict(wanted))
        yield
    finally:
        unet.set_attn_processor(before)


def effective(module: nn.Module) -> Mapping[str, Tensor]:
    """The parameters of a module by name; a parametrised weight as its parametrisation makes it."""
    found = dict(module.named_parameters())
    for name, part in module.named_modules():
        for weight in getattr(part, "parametrizations", ()):
            full = f"{name}.{weight}".removeprefix(".")
            before = f"{name}.parametrizations.{weight}.".removeprefix(".")
            found = {key: value for key, value in found.items() if not key.startswith(before)}
            found[full] = getattr(part, weight)
    return found


def _processor(keys: Tensor, values: Tensor) -> nn.Module:
    """A processor of diffusers with keys and values [hidden, X]."""
    hidden, width = keys.shape
    made: Any = IPAdapterAttnProcessor2_0(hidden, width, num_tokens=(1,))
    for place, weight in ((made.to_k_ip, keys), (made.to_v_ip, values)):
        place[0].weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return made  # type: ignore[no-any-return]
