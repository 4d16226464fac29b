"""Small random U-Nets of both hosts, and helpers to call them and compare the results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import Timesteps
from torch import Tensor

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import (
    CHANNELS,
    CONTEXT,
    Call,
    random_call,
    randomise,
)


def sd_ldm() -> Any:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    return networks.ldm_unet()


def batch_of(images: int, distinct: Sequence[int]) -> Call:
    """cond and uncond rows of images, of which those with the same number in `distinct` are equal."""
    kinds = [f"c{i}" for i in range(images)] + [f"u{i}" for i in range(images)]
    sources = random_call(" ".join(["c0"] * (max(distinct) + 1)), 3)
    texts = random_call("c0 u0", 5)
    call = random_call(" ".join(kinds), 0)
    return replace(
        call,
        x=torch.cat([sources.x[list(distinct)]] * 2),
        context=texts.context.repeat_interleave(images, 0),
    )


@contextmanager
def counted(units: Sequence[ActiveUnit]) -> Iterator[list[int]]:
    """The rows of every call of the units' networks."""
    rows: list[int] = []
    controls: list[Any] = [each.control for each in units]
    found = {id(control.model): control.model.network for control in controls}
    hooks = [
        network.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
        for network in found.values()
    ]
    yield rows
    for hook in hooks:
        hook.remove()


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def sd_diffusers() -> Any:
    """`networks.ldm_unet` in diffusers."""
    return networks.randomise(
        UNet2DConditionModel(
            block_out_channels=networks.CHANNELS,
            cross_attention_dim=networks.CONTEXT,
            attention_head_dim=networks.HEADS,
        ),
        0,
    )


def sizes_and_text(rows: int) -> tuple[Tensor, Tensor]:
    """SDXL's six sizes and a pooled text for each row."""
    generator = torch.Generator().manual_seed(rows)
    return torch.randint(0, 9, (rows, 6), generator=generator).float(), torch.randn(
        rows, 8, generator=generator
    )


def with_vector(call: Call, sizes: Tensor, text: Tensor, context: int) -> Call:
    """The call with sgm's vector: the text, then each size as two waves."""
    waves = torch.cat([Timesteps(2, True, 0)(column) for column in sizes.T], dim=1)
    wide = torch.randn(len(text), networks.TOKENS, context, generator=torch.Generator().manual_seed(4))
    return replace(call, vector=torch.cat((text, waves), dim=1), context=wide)


RESIDUAL_SIZES = [(8, 8)] * 3 + [(4, 4)] * 3 + [(2, 2)] * 3 + [(1, 1)] * 4
RESIDUAL_CHANNELS = [CHANNELS[k] for k in (0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)]
SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 8),
    "use_linear_projection": True,
    "cross_attention_dim": CONTEXT,
}
UP = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")


def sdxl_diffusers(seed: int = 0, **config: Any) -> Any:
    """`networks.sgm_unet` in diffusers; without a vector unless the configuration has one."""
    return randomise(files.UNet2DConditionModel(**{**SDXL, "up_block_types": UP, **config}), seed)


def port_of(unet: Any) -> Any:
    return LdmUNet(unet) if hasattr(unet, "input_blocks") else DiffusersUNet(unet)


def run(unet: Any, call: Any) -> Tensor:
    """One call of any of the U-Nets, with the vector where it takes one."""
    with torch.no_grad():
        if hasattr(unet, "input_blocks"):
            vector = {} if getattr(unet, "num_classes", None) is None else {"y": call.vector}
            return unet(call.x, call.timestep, context=call.context, **vector)  # type: ignore[no-any-return]
        return unet(call.x, call.timestep[0], encoder_hidden_states=call.context).sample  # type: ignore[no-any-return]
