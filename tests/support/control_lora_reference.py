"""The dense ControlNet that a ControlLoRA stands for, written out for both hosts' U-Nets."""

import copy
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.models.ldm_keys import ldm_names
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.networks import random_call
from tests.support.unet_calls import port_of

TOLERANCE = 1e-4


def sd_diffusers(seed: int = 0) -> Any:
    widths = {"block_out_channels": networks.CHANNELS, "cross_attention_dim": networks.CONTEXT}
    config = {**widths, "attention_head_dim": networks.HEADS}
    return networks.randomise(lora.files.UNet2DConditionModel(**config), seed)


def sdxl_diffusers(seed: int = 0) -> Any:
    return calls.sdxl_diffusers(seed, **lora.VECTOR_CONFIG)


UNETS: dict[str, Callable[..., Any]] = {
    "ldm": networks.ldm_unet,
    "sgm": networks.sgm_unet,
    "diffusers": sd_diffusers,
    "diffusers, SDXL": sdxl_diffusers,
}


def tensors_for(unet: Any, seed: int = 1) -> dict[str, Tensor]:
    return lora.lora_tensors(lora.encoder(unet), port_of(unet).shape.residual_channels, seed)


def control_call(unet: Any, rows: int = 2, size: tuple[int, int] = (8, 8), seed: int = 3) -> UNetCall:
    made = random_call(" ".join(f"c{i}" for i in range(rows)), seed, size)
    added: dict[str, Tensor] = {}
    if getattr(unet, "num_classes", None) is not None:
        added = {"y": made.vector}
    elif hasattr(unet, "config") and unet.config.addition_embed_type:
        sizes = torch.tensor([[1024.0, 768, 0, 8, 1024, 1024]])
        added = {"text_embeds": made.vector, "time_ids": sizes.repeat(rows, 1)}
    inputs = CallInputs(x=made.x, timestep=made.timestep, context=made.context, added=added)
    rows_of = Rows((True,) * rows, tuple(range(rows)))
    return UNetCall(inputs=inputs, position=Position(0, 4, rows_of), unet=unet)


def ldm_reference(unet: Any, weights: Mapping[str, Tensor], call: UNetCall, hint: Tensor) -> list[Tensor]:
    """The control network as ControlNet's paper has it, on a copy of the U-Net's own blocks."""
    unet = copy.deepcopy(unet)
    for name, parameter in unet.named_parameters():
        if name in weights:
            parameter.data = weights[name]
    embed = import_module("ldm.modules.diffusionmodules.util").timestep_embedding
    inputs = call.inputs
    embedding = unet.time_embed(embed(inputs.timestep, unet.model_channels))
    if "y" in inputs.added:
        embedding = embedding + unet.label_emb(inputs.added["y"])
    for place in range(8):
        kernel, bias = (weights[f"input_hint_block.{2 * place}.{part}"] for part in ("weight", "bias"))
        hint = functional.conv2d(hint, kernel, bias, stride=2 if place in (2, 4, 6) else 1, padding=1)
        hint = functional.silu(hint) if place < 7 else hint
    h, found = inputs.x, []
    for place, block in enumerate(unet.input_blocks):
        h = block(h, embedding, inputs.context)
        h = h + hint if place == 0 else h
        found.append(zero_conv(h, weights, f"zero_convs.{place}.0"))
    h = unet.middle_block(h, embedding, inputs.context)
    return [*found, zero_conv(h, weights, "middle_block_out.0")]


def zero_conv(h: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"])


def diffusers_reference(
    unet: Any, weights: Mapping[str, Tensor], call: UNetCall, hint: Tensor
) -> list[Tensor]:
    """diffusers' own ControlNet for this U-Net, with these weights."""
    network: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    names = ldm_names(weights)
    network.load_state_dict({names[key]: value for key, value in weights.items()}, strict=True)
    inputs, batch = call.inputs, call.batch
    down, mid = network.eval()(
        inputs.x,
        inputs.timestep,
        inputs.context,
        hint.expand(batch, -1, -1, -1),
        added_cond_kwargs=dict(inputs.added),
        return_dict=False,
    )
    return [*down, mid]


def expected(unet: Any, tensors: Mapping[str, Tensor], call: UNetCall, control: Any) -> list[Tensor]:
    height, width = call.size
    hint = to_hint(control.control_map(width * 8, height * 8))
    weights = lora.dense(lora.encoder(unet), tensors)
    reference = ldm_reference if hasattr(unet, "input_blocks") else diffusers_reference
    with torch.no_grad():
        return reference(unet, weights, call, hint)


def distance(found: Residuals, wanted: list[Tensor]) -> float:
    """The largest difference, relative to the layer where that is larger than 1."""
    assert [layer.shape for layer in found.layers] == [layer.shape for layer in wanted]
    assert max(layer.abs().max() for layer in wanted) > 0.05
    pairs = zip(found.layers, wanted, strict=True)
    return max(float((one - two).abs().max() / two.abs().max().clamp(min=1)) for one, two in pairs)


def control_of(folder: Path, unet: Any, **fields: Any) -> Any:
    (unit,) = lora.loaded(folder, unet, {"model": "lora", **fields})
    return unit.control
