"""The levels of a U-Net's encoder, and where a T2I-Adapter's features go.

One place for each level, then the mid block. On a level with text attention it is the hidden
state before the downsampler, else the one that goes on to the next level. So SD1.5 takes
features after input blocks 2, 5, 8 and 11, SDXL after 3, 5, 8 and the mid block, as
sd-webui-controlnet and diffusers add them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lib_ctrlgen.errors import HostError

from .call import AttentionSite, CallInputs, FeaturePlace, UNetShape
from .port import Call, Compute, Features, Hooks, attentions, narrowing, shape_of, sites


def ldm_places(unet: Any) -> Iterator[tuple[nn.Module, FeaturePlace]]:
    """Of an ldm or sgm U-Net each place, and the block that puts that hidden state out."""
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
    """The outputs of an ldm or sgm U-Net's encoder blocks and of its mid block: channels and strides."""
    stride = 1
    for block in unet.input_blocks:
        stride *= 2 if is_downsampler(block) else 1
        yield FeaturePlace(out_channels(block), stride)
    yield FeaturePlace(out_channels(unet.middle_block), stride)


def ldm_levels(blocks: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """The encoder's blocks by level; a downsampler ends its level."""
    level: list[nn.Module] = []
    for block in blocks:
        level.append(block)
        if is_downsampler(block):
            yield level
            level = []
    if level:
        yield level


def is_downsampler(block: nn.Module) -> bool:
    """Whether an ldm encoder block only makes the hidden state smaller."""
    return hasattr(next(iter(block.children())), "op")


def has_text(block: nn.Module) -> bool:
    """Whether there is cross attention in a block."""
    return any(getattr(module, "attn2", None) is not None for module in block.modules())


def out_channels(block: nn.Module) -> int:
    """The channels that an ldm encoder block puts out: those of its first layer that says so."""
    found: Any = next(m for m in block.children() if hasattr(m, "out_channels"))
    return int(found.out_channels)


def read_ldm(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallInputs:
    """`UNetModel.forward(x, timesteps, context, y)`, as positions or names."""
    given = dict(zip(("x", "timesteps", "context", "y"), args, strict=False)) | dict(kwargs)
    context = given.get("context")
    if not isinstance(context, Tensor):
        raise HostError(
            "the U-Net was called without a text context: controls need a text-conditioned checkpoint"
        )
    added = {} if given.get("y") is None else {"y": given["y"]}
    return CallInputs(x=given["x"], timestep=given["timesteps"], context=context, added=added)


class LdmUNet:
    """`UNetModel` of ldm (SD1.x, SD2.x) and of sgm (SDXL), as A1111 runs it."""

    def __init__(self, module: nn.Module) -> None:
        for name in ("input_blocks", "middle_block", "output_blocks"):
            if not hasattr(module, name):
                raise HostError(
                    f"the U-Net ({type(module).__name__}) has no '{name}': not an ldm or sgm U-Net"
                )
        self.module: Any = module

    @property
    def shape(self) -> UNetShape:
        """What a control must fit."""
        return shape_of(
            self.attention_sites(),
            attentions(self.module),
            int(self.module.in_channels),
            tuple(ldm_outputs(self.module)),
            tuple(place for _, place in ldm_places(self.module)),
        )

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """The cross attentions in checkpoint order."""
        parts = ("input_blocks", "output_blocks", "middle_block")
        return sites(self.module, parts)

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Add the mid residual after `middle_block`, each skip residual where the decoder reads it.

        The decoder's input is a fresh concatenation with the skip in its last
        channels, so the residual is added in place there and never to the encoder's
        output, which feeds later encoder blocks.
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
        """Add them to what the encoder's blocks put out, which also goes into the skips."""
        for number, (block, _) in enumerate(ldm_places(self.module)):
            hooks.add(block.register_forward_hook(feature_adder(number, features)))


def feature_adder(number: int, features: Features) -> Callable[..., Tensor | None]:
    """A hook that adds one of the features to a block's output, if there are as many."""

    def add(_module: nn.Module, _args: object, output: Tensor) -> Tensor | None:
        found = features()
        return output + found[number].to(output) if number < len(found) else None

    return add


def add_to_last_channels(joined: Tensor, residual: Tensor) -> None:
    """Add in place onto the last channels of a freshly concatenated decoder input."""
    joined[:, -residual.shape[1] :] += residual.to(joined)
