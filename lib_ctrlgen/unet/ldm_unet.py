"""The port for ldm and sgm U-Nets, which the WebUI uses.

A T2I-Adapter's features are added at one place per level of the encoder, then at the mid block. On a
level with cross attention the place is the hidden state before the downsampler, otherwise the one after
it. SD1.5 takes features after input blocks 2, 5, 8 and 11, SDXL after 3, 5, 8 and the mid block, as in
sd-webui-controlnet and diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lib_ctrlgen.errors import HostError

from .call import AttentionSite, CallInputs, FeaturePlace, UNetShape
from .port import Call, Compute, Features, Hooks, UNetBlocks, attentions, narrowing, shape_of, sites

PARTS = ("input_blocks", "output_blocks", "middle_block")


def ldm_places(unet: Any) -> Iterator[tuple[nn.Module, FeaturePlace]]:
    """Yield each place for features in an ldm or sgm U-Net, with the block whose output it is."""
    stride = 1
    for level in ldm_levels(list(unet.input_blocks)[1:]):
        downs = is_downsampler(level[-1])
        before = downs and len(level) > 1 and any(map(has_text, level))
        block = level[-2] if before else level[-1]
        after = stride * 2 if downs else stride
        yield block, FeaturePlace(out_channels(block), stride if before else after)
        stride = after
    yield unet.middle_block, FeaturePlace(out_channels(unet.middle_block), stride)


def ldm_outputs(unet: Any) -> Iterator[FeaturePlace]:
    """Yield channels and stride of each encoder block of an ldm or sgm U-Net, then of its mid block."""
    stride = 1
    for block in unet.input_blocks:
        stride *= 2 if is_downsampler(block) else 1
        yield FeaturePlace(out_channels(block), stride)
    yield FeaturePlace(out_channels(unet.middle_block), stride)


def ldm_levels(blocks: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Group the encoder's blocks by level; a downsampler is the last block of its level."""
    level: list[nn.Module] = []
    for block in blocks:
        level.append(block)
        if is_downsampler(block):
            yield level
            level = []
    if level:
        yield level


def is_downsampler(block: nn.Module) -> bool:
    """Whether an ldm encoder block is a downsampler."""
    return hasattr(next(iter(block.children())), "op")


def has_text(block: nn.Module) -> bool:
    """Whether a block has cross attention."""
    return any(getattr(module, "attn2", None) is not None for module in block.modules())


def out_channels(block: nn.Module) -> int:
    """Return an ldm encoder block's output channels, from its first layer that has `out_channels`."""
    found: Any = next(m for m in block.children() if hasattr(m, "out_channels"))
    return int(found.out_channels)


def read_ldm(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallInputs:
    """Read the positional or keyword arguments of `UNetModel.forward(x, timesteps, context, y)`."""
    given = dict(zip(("x", "timesteps", "context", "y"), args, strict=False)) | dict(kwargs)
    context = given.get("context")
    if not isinstance(context, Tensor):
        raise HostError(
            "the U-Net was called without a text context: controls need a text-conditioned checkpoint"
        )
    added = {} if given.get("y") is None else {"y": given["y"]}
    return CallInputs(x=given["x"], timestep=given["timesteps"], context=context, added=added)


class LdmUNet:
    """The port for `UNetModel` of ldm (SD1.x, SD2.x) and sgm (SDXL). Raises HostError for another module."""

    def __init__(self, module: nn.Module) -> None:
        for name in ("input_blocks", "middle_block", "output_blocks"):
            if not hasattr(module, name):
                raise HostError(
                    f"the U-Net ({type(module).__name__}) has no '{name}': not an ldm or sgm U-Net"
                )
        self.module: Any = module

    @property
    def shape(self) -> UNetShape:
        """The shape of the U-Net, which a control must fit."""
        return shape_of(
            self.attention_sites(),
            attentions(self.module),
            int(self.module.in_channels),
            tuple(ldm_outputs(self.module)),
            tuple(place for _, place in ldm_places(self.module)),
        )

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the cross attentions in checkpoint order: down, up, mid."""
        return sites(self.module, PARTS)

    def self_attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the self attentions in the same order."""
        return sites(self.module, PARTS, "attn1")

    def blocks(self) -> UNetBlocks:
        """Return the encoder's, the mid and the decoder's blocks."""
        unet = self.module
        return UNetBlocks(
            encoder=tuple(unet.input_blocks), middle=unet.middle_block, decoder=tuple(unet.output_blocks)
        )

    def vector_embedding(self) -> nn.Module | None:
        """Return `label_emb`, which sgm's U-Net of SDXL has."""
        found: nn.Module | None = getattr(self.module, "label_emb", None)
        return found

    def forward(self, inputs: CallInputs) -> None:
        """Run the U-Net for these inputs, without the hooks on the U-Net itself."""
        self.module.forward(inputs.x, inputs.timestep, context=inputs.context, **inputs.added)

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Add the mid residual to the output of `middle_block`, and each skip residual to a decoder input.

        A decoder block's input is a new concatenation with the skip in its last channels. The residual is
        added there in place, and not to the encoder's output, which later encoder blocks read too.
        """
        pending: list[Tensor] = []
        narrow = narrowing(self.module, hooks)

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
            pending.clear()
            effect = compute(read_ldm(args, kwargs))
            if effect.residuals is not None:
                pending.extend(effect.residuals.layers)
            return narrow(effect.repeats, (args, kwargs))

        def after(_module: nn.Module, _args: object, _output: object) -> None:
            pending.clear()
            done()

        def middle(_module: nn.Module, _args: object, output: Tensor) -> Tensor | None:
            return output + pending.pop().to(output) if pending else None

        def decoder(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if pending:
                add_to_last_channels(args[0], pending.pop())

        hooks.add(self.module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.add(self.module.register_forward_hook(after, always_call=True))
        hooks.add(self.module.middle_block.register_forward_hook(middle))
        for block in self.module.output_blocks:
            hooks.add(block.register_forward_pre_hook(decoder))

    def add_features(self, hooks: Hooks, features: Features) -> None:
        """Add the features to the outputs of encoder blocks, which also become skips."""
        for number, (block, _) in enumerate(ldm_places(self.module)):
            hooks.add(block.register_forward_hook(feature_adder(number, features)))


def feature_adder(number: int, features: Features) -> Callable[..., Tensor | None]:
    """Return a hook that adds feature `number` to a block's output, if there are that many features."""

    def add(_module: nn.Module, _args: object, output: Tensor) -> Tensor | None:
        found = features()
        return output + found[number].to(output) if number < len(found) else None

    return add


def add_to_last_channels(joined: Tensor, residual: Tensor) -> None:
    """Add a residual in place to the last channels of a decoder block's input."""
    joined[:, -residual.shape[1] :] += residual.to(joined)
