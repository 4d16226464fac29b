"""The port for diffusers' `UNet2DConditionModel`: reads its calls, and adds residuals and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import HostError

from .call import AttentionSite, CallInputs, FeaturePlace, UNetShape
from .port import Call, Compute, Features, Hooks, UNetBlocks, attentions, narrowing, shape_of, sites
from .residuals import Residuals, summed_features

PARTS = ("down_blocks", "up_blocks", "mid_block")


def read_diffusers(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallInputs:
    """Read the arguments of `UNet2DConditionModel.forward(sample, timestep, encoder_hidden_states, ...)`."""
    given = dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)) | dict(kwargs)
    x = given["sample"]
    timestep = torch.as_tensor(given["timestep"], device=x.device).reshape(-1).expand(x.shape[0])
    added = given.get("added_cond_kwargs") or {}
    return CallInputs(x=x, timestep=timestep, context=given["encoder_hidden_states"], added=added)


def own_residuals(kwargs: Mapping[str, Any]) -> tuple[Sequence[Tensor] | None, Tensor | None]:
    """Return the host's own residuals for skips and mid block. Raises HostError if only one is given."""
    down = kwargs.get("down_block_additional_residuals")
    mid = kwargs.get("mid_block_additional_residual")
    if (down is None) != (mid is None):
        raise HostError(
            "the U-Net was called with residuals for its skips or its mid block only, and controls need both"
        )
    return down, mid


def with_features(kwargs: Mapping[str, Any], features: Sequence[Tensor]) -> dict[str, Any]:
    """Return diffusers' keyword arguments with `features` added to the host's own.

    The list is a copy, because diffusers removes its items.
    """
    # refuse a T2I-Adapter's features in the deprecated form, which diffusers would ignore beside these
    own_residuals(kwargs)
    name = "down_intrablock_additional_residuals"
    return {**kwargs, name: list(summed_features([kwargs.get(name) or (), features]))}


def with_residuals(kwargs: Mapping[str, Any], residuals: Residuals) -> dict[str, Any]:
    """Return diffusers' keyword arguments with `residuals` added to the host's own."""
    down, mid = own_residuals(kwargs)
    if down is not None and mid is not None:
        residuals = residuals + Residuals(tuple(down), mid)
    return {
        **kwargs,
        "down_block_additional_residuals": residuals.down,
        "mid_block_additional_residual": residuals.mid,
    }


def diffusers_places(unet: Any) -> Iterator[FeaturePlace]:
    """Yield the hidden states to which a `UNet2DConditionModel` adds the features it is given."""
    stride = 1
    for block in unet.down_blocks:
        after = stride * 2 if block.downsamplers else stride
        before = getattr(block, "has_cross_attention", False)
        yield FeaturePlace(int(block.resnets[-1].out_channels), stride if before else after)
        stride = after
    yield FeaturePlace(int(unet.mid_block.resnets[-1].out_channels), stride)


def diffusers_outputs(unet: Any) -> Iterator[FeaturePlace]:
    """Yield channels and stride of each encoder output of a `UNet2DConditionModel`, then of its mid block."""
    stride = 1
    yield FeaturePlace(int(unet.conv_in.out_channels), stride)
    for block in unet.down_blocks:
        for resnet in block.resnets:
            yield FeaturePlace(int(resnet.out_channels), stride)
        for down in block.downsamplers or ():
            stride *= 2
            yield FeaturePlace(int(down.out_channels), stride)
    yield FeaturePlace(int(unet.mid_block.resnets[-1].out_channels), stride)


def encoder_modules(unet: Any) -> Iterator[nn.Module]:
    """Yield the module with the output of each of ldm's encoder blocks but the first, which is `conv_in`."""
    for block in unet.down_blocks:
        yield from layers_of(block)
        yield from block.downsamplers or ()


def decoder_modules(unet: Any) -> Iterator[nn.Module]:
    """Yield the module with the output of each of ldm's decoder blocks, some with an upsampler."""
    for block in unet.up_blocks:
        *layers, last = layers_of(block)
        yield from layers
        yield block.upsamplers[-1] if block.upsamplers else last


def layers_of(block: Any) -> list[nn.Module]:
    """Return a level's transformers, or its resnets where it has no attention."""
    return list(getattr(block, "attentions", None) or block.resnets)


class DiffusersUNet:
    """The port for a `UNet2DConditionModel`. Raises HostError for another module."""

    def __init__(self, module: nn.Module) -> None:
        if not hasattr(module, "down_blocks") or not hasattr(module, "mid_block"):
            raise HostError(f"the U-Net ({type(module).__name__}) is not a UNet2DConditionModel")
        self.module: Any = module

    @property
    def shape(self) -> UNetShape:
        """The shape of the U-Net, which a control must fit."""
        return shape_of(
            self.attention_sites(),
            attentions(self.module),
            int(self.module.config.in_channels),
            tuple(diffusers_outputs(self.module)),
            tuple(diffusers_places(self.module)),
        )

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the cross attentions in checkpoint order: down, up, mid."""
        return sites(self.module, PARTS)

    def self_attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the self attentions in the same order."""
        return sites(self.module, PARTS, "attn1")

    def blocks(self) -> UNetBlocks:
        """Return the modules that compute the outputs of ldm's blocks."""
        unet = self.module
        return UNetBlocks(
            encoder=(unet.conv_in, *encoder_modules(unet)),
            middle=unet.mid_block,
            decoder=tuple(decoder_modules(unet)),
        )

    def vector_embedding(self) -> nn.Module | None:
        """Return `add_embedding`, which SDXL's U-Net has."""
        found: nn.Module | None = getattr(self.module, "add_embedding", None)
        return found

    def forward(self, inputs: CallInputs) -> None:
        """Run the U-Net for these inputs, without the hooks on the U-Net itself."""
        added = {"added_cond_kwargs": dict(inputs.added)} if inputs.added else {}
        self.module.forward(
            inputs.x, inputs.timestep, encoder_hidden_states=inputs.context, return_dict=False, **added
        )

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Add the residuals of `compute` to the residual arguments of each call."""
        narrow = narrowing(self.module, hooks)

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            effect = compute(read_diffusers(args, kwargs))
            args, kwargs = narrow(effect.repeats, (args, kwargs)) or (args, kwargs)
            return args, kwargs if effect.residuals is None else with_residuals(kwargs, effect.residuals)

        def after(_module: nn.Module, _args: object, _output: object) -> None:
            done()

        hooks.add(self.module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.add(self.module.register_forward_hook(after, always_call=True))

    def add_features(self, hooks: Hooks, features: Features) -> None:
        """Add the features to the feature argument of each call."""

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
            found = features()
            return (args, with_features(kwargs, found)) if found else None

        hooks.add(self.module.register_forward_pre_hook(before, with_kwargs=True))
