"""The layouts of published ControlNets, and comparisons with the network in diffusers."""

from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.controls.controlnet.prepared import PreparedControlNet
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals


def layers(residuals: Residuals) -> tuple[Tensor, ...]:
    return residuals.layers


def expected(network: Any, call: UNetCall, control: PreparedControlNet) -> list[Tensor]:
    """diffusers' own forward, with the hint encoder inside."""
    height, width = call.size
    hint = to_hint(control.control_map(width * 8, height * 8)).expand(call.batch, -1, -1, -1)
    inputs = call.inputs
    down, mid = network(inputs.x, inputs.timestep, inputs.context, hint, return_dict=False)
    return [*down, mid]


def assert_equal(found: Residuals, wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    assert len(found.layers) == len(wanted)
    for one, other in zip(found.layers, wanted, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=0, atol=tolerance)
    assert max(layer.abs().max() for layer in found.layers) > 0.01


def assert_same_weights(loaded: Any, hint_encoder: Any, original: Any) -> None:
    """Exactly the same tensors, and the same configuration."""
    hint = {f"controlnet_cond_embedding.{key}": value for key, value in hint_encoder.state_dict().items()}
    found, wanted = {**loaded.state_dict(), **hint}, original.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    for name in ("block_out_channels", "down_block_types", "layers_per_block", "use_linear_projection"):
        assert list_of(loaded.config[name]) == list_of(original.config[name])


def list_of(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "other widths": {"block_out_channels": (32, 32, 64, 128), "attention_head_dim": 2},
    "three levels": {
        "block_out_channels": (32, 64, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "one layer": {"layers_per_block": 1},
    "linear projections, deep": {"use_linear_projection": True, "transformer_layers_per_block": (1, 2, 1, 1)},
    "heads per level": {"attention_head_dim": (2, 4, 6, 6)},
}
