"""Random ControlNet Unions, and diffusers' own network of the same weights."""

import functools
from collections.abc import Sequence
from typing import Any

import diffusers
import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.union_mixer import UnionMixer
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import Call, random_call
from tests.support.unet_calls import sizes_and_text, with_vector

TYPES = 8
PICTURES = [files.picture(64, 64, seed) for seed in (3, 4, 5)]


needs_union = pytest.mark.skipif(
    not hasattr(diffusers, "ControlNetUnionModel"), reason="diffusers has the network since 0.32"
)


@functools.cache
def union_tensors(types: int = TYPES, blocks: int = 1) -> dict[str, Tensor]:
    """A Union's file: a ControlNet's tensors, and those of its types."""
    network: ControlNetModel = networks.sdxl_controlnet(5, **networks.SDXL_VECTOR)
    mixer = networks.randomise(UnionMixer(types, 32, 128, blocks, 2), 6, scale=0.2)
    return {**network.state_dict(), **mixer.state_dict()}


@functools.cache
def their_network(types: int = TYPES, blocks: int = 1) -> Any:
    """diffusers' network with the same weights."""
    network = diffusers.ControlNetUnionModel(
        **networks.SDXL,
        **networks.SDXL_VECTOR,
        cross_attention_dim=networks.CONTEXT,
        conditioning_embedding_out_channels=(8, 8, 16, 16),
        num_control_type=types,
        num_trans_channel=32,
        num_trans_head=4,
        num_trans_layer=blocks,
        num_proj_channel=32,
    )
    network.load_state_dict(union_tensors(types, blocks), strict=True)
    return network.eval().requires_grad_(requires_grad=False)


def network_calls(loaded: Sequence[ActiveUnit]) -> tuple[list[int], Any]:
    """The rows of every call of the units' network, and what stops the counting."""
    rows: list[int] = []
    control: Any = loaded[0].control
    hook = control.model.network.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
    return rows, hook


def their_residuals(
    network: Any, call: Call, vector: tuple[Tensor, Tensor], maps: Sequence[tuple[int, int, float]]
) -> list[Tensor]:
    """diffusers' residuals for (picture, type, weight) on all rows of a call."""
    types = torch.zeros(len(call.rows), TYPES)
    types[:, [kind for _, kind, _ in maps]] = 1
    down, mid = network(
        call.x,
        call.timestep,
        call.context,
        [to_hint(PICTURES[picture]).expand(len(call.rows), -1, -1, -1) for picture, _, _ in maps],
        control_type=types,
        control_type_idx=[kind for _, kind, _ in maps],
        conditioning_scale=[weight for _, _, weight in maps],
        added_cond_kwargs={"time_ids": vector[0], "text_embeds": vector[1]},
        return_dict=False,
    )
    return [*down, mid]


def sdxl_call(kinds: str, seed: int) -> tuple[Call, tuple[Tensor, Tensor]]:
    call = random_call(kinds, seed)
    vector = sizes_and_text(len(call.rows))
    return with_vector(call, *vector, networks.CONTEXT), vector


def unit(picture: int, kind: str = "auto", **fields: Any) -> dict[str, Any]:
    image = encode_image(PICTURES[picture])
    return {"model": "union", "image": image, "params": {"union_type": kind}, **fields}


def load(store: ModelStore, unet: Any, *units: dict[str, Any]) -> tuple[ActiveUnit, ...]:
    return load_units(
        parse_request({"units": list(units)}).units, Target(store=store, shape=LdmUNet(unet).shape)
    )


def run(unet: Any, call: Call) -> Tensor:
    output: Tensor = unet(call.x, call.timestep, context=call.context, y=call.vector)
    return output
