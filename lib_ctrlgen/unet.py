"""The U-Nets of the hosts behind one protocol: ldm / sgm (A1111) and diffusers.

A port reads a U-Net's call and puts residuals in. It only ever uses torch's public
hooks; every hook goes through a `Hooks`, which takes it off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lib_ctrlgen.calls import AttentionSite, CallInputs, Family, FeaturePlace, UNetShape
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.levels import diffusers_places, ldm_places, out_channels
from lib_ctrlgen.repeats import Repeats
from lib_ctrlgen.residuals import Residuals
from lib_ctrlgen.unet_arguments import read_diffusers, read_ldm, with_features, with_residuals

Attention: TypeAlias = tuple[str, Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Effect:
    """What is done to a call: the residuals to add, and which rows need not be computed twice.

    Residuals are of the rows that are computed.
    """

    residuals: Residuals | None = None
    repeats: Repeats | None = None


Compute: TypeAlias = Callable[[CallInputs], Effect]
Features: TypeAlias = Callable[[], Sequence[Tensor]]


class Hooks(ExitStack):
    """Torch hooks that are removed when the stack closes, whatever happened inside."""

    def add(self, handle: RemovableHandle) -> None:
        """Take the handle's hook off at the end."""
        self.callback(handle.remove)


class UNetPort(Protocol):
    """What a session needs to know of a host's U-Net."""

    @property
    def module(self) -> nn.Module:
        """The U-Net itself."""

    @property
    def shape(self) -> UNetShape:
        """What a control must fit."""

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """The cross attentions in checkpoint order: down, up, mid."""

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Ask `compute` before every call, do what it returns, and call `done` after it, also on errors."""

    def add_features(self, hooks: Hooks, features: Features) -> None:
        """Add what `features` gives, after `attach`'s `compute`, to the places of `shape.feature_places`.

        There may be fewer than places, or none; each is [B, C, h, w], of the rows that are computed.
        """


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
        encoder = [*self.module.input_blocks, self.module.middle_block]
        return shape_of(
            self.attention_sites(),
            attentions(self.module),
            int(self.module.in_channels),
            map(out_channels, encoder),
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


class DiffusersUNet:
    """diffusers' `UNet2DConditionModel`."""

    def __init__(self, module: nn.Module) -> None:
        if not hasattr(module, "down_blocks") or not hasattr(module, "mid_block"):
            raise HostError(f"the U-Net ({type(module).__name__}) is not a UNet2DConditionModel")
        self.module: Any = module

    @property
    def shape(self) -> UNetShape:
        """What a control must fit."""
        channels = [int(self.module.conv_in.out_channels)]
        for block in self.module.down_blocks:
            channels += [int(resnet.out_channels) for resnet in block.resnets]
            channels += [int(down.out_channels) for down in block.downsamplers or ()]
        channels.append(int(self.module.mid_block.resnets[-1].out_channels))
        return shape_of(
            self.attention_sites(),
            attentions(self.module),
            int(self.module.config.in_channels),
            iter(channels),
            tuple(diffusers_places(self.module)),
        )

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """The cross attentions in checkpoint order."""
        return sites(self.module, ("down_blocks", "up_blocks", "mid_block"))

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Fill diffusers' own residual arguments, on top of residuals that are there already."""
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
        """Fill diffusers' own argument for features, on top of features that are there already."""

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
            found = features()
            return (args, with_features(kwargs, found)) if found else None

        hooks.add(self.module.register_forward_pre_hook(before, with_kwargs=True))


def feature_adder(number: int, features: Features) -> Callable[..., Tensor | None]:
    """A hook that adds one of the features to a block's output, if there are as many."""

    def add(_module: nn.Module, _args: object, output: Tensor) -> Tensor | None:
        found = features()
        return output + found[number].to(output) if number < len(found) else None

    return add


def narrowing(module: nn.Module, hooks: Hooks) -> Callable[[Repeats | None, Call], Call | None]:
    """What narrows a call to the rows that are computed; a hook spreads the output over the batch again.

    The hook stands before all others, which see the whole batch.
    """
    current: list[Repeats] = []

    def narrow(repeats: Repeats | None, call: Call) -> Call | None:
        current[:] = [repeats] if repeats else []
        if not repeats:
            return None
        args, kwargs = call
        return repeats.narrowed(args), repeats.narrowed(kwargs)

    def spread(_module: nn.Module, _args: object, output: Any) -> Any:
        return current.pop().spread(output) if current else None

    hooks.add(module.register_forward_hook(spread, prepend=True))
    return narrow


def add_to_last_channels(joined: Tensor, residual: Tensor) -> None:
    """Add in place onto the last channels of a freshly concatenated decoder input."""
    joined[:, -residual.shape[1] :] += residual.to(joined)


def attentions(root: nn.Module) -> Iterator[Attention]:
    """All modules with a cross attention `attn2`, with their names, in definition order."""
    for name, module in root.named_modules():
        if getattr(module, "attn2", None) is not None:
            yield name, module.attn2


def sites(root: nn.Module, parts: tuple[str, ...]) -> tuple[AttentionSite, ...]:
    """The cross attentions under these parts of the U-Net, part after part."""
    return tuple(
        AttentionSite(
            name=f"{part}.{name}.attn2",
            to_q=attention.to_q,
            to_k=attention.to_k,
            to_v=attention.to_v,
            to_out=attention.to_out[0],
            heads=int(attention.heads),
            hidden=int(attention.to_q.out_features),
        )
        for part in parts
        for name, attention in attentions(getattr(root, part))
    )


def shape_of(
    found: tuple[AttentionSite, ...],
    layers: Iterator[Attention],
    in_channels: int,
    channels: Iterator[int],
    places: tuple[FeaturePlace, ...],
) -> UNetShape:
    """The shape from the attention sites, the encoder's channels and its places for features.

    Raises HostError without cross attention.
    """
    first = next(layers, None)
    if first is None:
        raise HostError("the U-Net has no cross attention: controls need a text-conditioned checkpoint")
    return UNetShape(
        family=Family.of(int(first[1].to_k.in_features)),
        in_channels=in_channels,
        residual_channels=tuple(channels),
        attention_hidden=tuple(site.hidden for site in found),
        heads=tuple(site.heads for site in found),
        feature_places=places,
    )
