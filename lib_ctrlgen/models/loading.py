"""Fills a network on the meta device with the tensors of a file."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError

RGB, BRIGHTNESS = 3, 1


def map_channels(first: Tensor, what: str) -> int:
    """The number of input channels of a network's first convolution [out, in, k, k].

    Raises ModelError unless it is 3 (RGB) or 1 (brightness), as files do not say what other channels mean.
    """
    channels = int(first.shape[1])
    if channels not in (RGB, BRIGHTNESS):
        raise ModelError(
            f"the {what} reads control maps of {channels} channels, but only {RGB} (RGB) and {BRIGHTNESS} "
            f"(brightness) are supported: choose another {what}"
        )
    return channels


def working_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """`dtype`, but never half precision on a CPU, where it is slow."""
    return torch.float32 if device.type == "cpu" and dtype == torch.float16 else dtype


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    left_out: AbstractSet[str] = frozenset(),
) -> None:
    """Set the weights of a network that is on the meta device, freeze it and set it to evaluation mode.

    Tensors that already have the device and dtype are not copied. The parameters named in `left_out` stay on
    the meta device. Raises ModelError with the keys that are missing, unknown or of another shape.
    """
    wanted = {key: value for key, value in network.state_dict().items() if key not in left_out}
    problems = [
        *(f"missing {key}" for key in wanted if key not in tensors),
        *(f"unknown {key}" for key in tensors if key not in wanted),
        *(
            f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in tensors and tensors[key].shape != value.shape
        ),
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(f"'{name}' does not fit its architecture: {'; '.join(problems[:3])}{more}")
    converted = {
        key: value.to(device, dtype if value.is_floating_point() else value.dtype)
        for key, value in tensors.items()
    }
    # Not the network's own method, which may be another one: ZoeDepth's accepts missing weights.
    nn.Module.load_state_dict(network, converted, strict=not left_out, assign=True)
    network.requires_grad_(requires_grad=False)
    network.eval()
