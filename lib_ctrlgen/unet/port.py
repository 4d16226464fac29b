"""The protocol of a port, which reads a host's U-Net calls and adds residuals and features to them.

There is one port for ldm and sgm (the WebUI) and one for diffusers. Ports use only torch's public hooks,
and add each through a `Hooks`, which removes it at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lib_ctrlgen.errors import HostError

from .call import AttentionPlace, AttentionSite, CallInputs, FeaturePlace, UNetPart, UNetShape
from .family import Family
from .residuals import Residuals
from .shared_rows import SharedRows

Attention: TypeAlias = tuple[str, Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Effect:
    """What a port does to a call: adds `residuals`, and computes equal rows (`repeats`) only once.

    The residuals have one row for each row that is computed.
    """

    residuals: Residuals | None = None
    repeats: SharedRows | None = None


Compute: TypeAlias = Callable[[CallInputs], Effect]
Features: TypeAlias = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True, kw_only=True)
class UNetBlocks:
    """Modules by the blocks whose output they compute, numbered as in ldm.

    A block of a level has a resnet, a transformer and a sampler, as far as it has them. diffusers groups them
    in another way; there the module is the block's last one.
    """

    encoder: tuple[nn.Module, ...]
    middle: nn.Module
    decoder: tuple[nn.Module, ...]


class Hooks(ExitStack):
    """Torch hooks that are removed when the stack closes, even after an exception."""

    def add(self, handle: RemovableHandle) -> None:
        """Remove this hook when the stack closes."""
        self.callback(handle.remove)


class UNetPort(Protocol):
    """What a session needs of a host's U-Net: its shape, its cross attentions, and hooks on its calls."""

    @property
    def module(self) -> nn.Module:
        """The U-Net itself."""

    @property
    def shape(self) -> UNetShape:
        """The shape of the U-Net, which a control must fit."""

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the cross attentions in checkpoint order: down, up, mid."""

    def self_attention_sites(self) -> tuple[AttentionSite, ...]:
        """Return the self attentions in the same order; those that read the text instead are left out."""

    def blocks(self) -> UNetBlocks:
        """Return the modules whose outputs are those of the encoder's, the mid and the decoder's blocks."""

    def vector_embedding(self) -> nn.Module | None:
        """Return the module that embeds SDXL's vector [B, 1280 + ...], None in a U-Net without one.

        The vector begins with the pooled text; what follows are the sizes.
        """

    def forward(self, inputs: CallInputs) -> None:
        """Run the U-Net for these inputs, without the hooks on the U-Net itself; those inside it run."""

    def attach(self, hooks: Hooks, compute: Compute, done: Callable[[], None]) -> None:
        """Call `compute` before each U-Net call and apply its result; call `done` after, even on errors."""

    def add_features(self, hooks: Hooks, features: Features) -> None:
        """Add the tensors that `features` returns to the hidden states of `shape.feature_places`, in order.

        `features` is called after the `compute` of `attach`. It may return fewer tensors than there are
        places, or none; each is [B, C, h, w] with one row for each row that is computed.
        """


def narrowing(module: nn.Module, hooks: Hooks) -> Callable[[SharedRows | None, Call], Call | None]:
    """Return a function that reduces a call's arguments to the rows that are computed.

    A forward hook on `module` copies the output back to all rows of the batch. It is prepended, so that
    hooks added in the ordinary way see the whole batch.
    """
    current: list[SharedRows] = []

    def narrow(repeats: SharedRows | None, call: Call) -> Call | None:
        current[:] = [repeats] if repeats else []
        if not repeats:
            return None
        args, kwargs = call
        return repeats.narrowed(args), repeats.narrowed(kwargs)

    def spread(_module: nn.Module, _args: object, output: Any) -> Any:
        return current.pop().spread(output) if current else None

    hooks.add(module.register_forward_hook(spread, prepend=True))
    return narrow


def attentions(root: nn.Module, kind: str = "attn2") -> Iterator[Attention]:
    """Yield name and attention of every module that has one of this kind, in definition order.

    `attn2` is the cross attention, `attn1` the self attention; an `attn1` that reads the text is left out.
    """
    for name, module in root.named_modules():
        found = getattr(module, kind, None)
        if found is not None and not (kind == "attn1" and reads_text(module)):
            yield name, found


def reads_text(block: nn.Module) -> bool:
    """Whether a transformer block's `attn1` reads the text."""
    return any(getattr(block, flag, False) for flag in TEXT_INSTEAD)


TEXT_INSTEAD = ("disable_self_attn", "only_cross_attention")  # of ldm's and of diffusers' blocks


def sites(root: nn.Module, parts: tuple[str, ...], kind: str = "attn2") -> tuple[AttentionSite, ...]:
    """Return the attentions of a kind in these parts of the U-Net, in the order of `parts`."""
    return tuple(
        AttentionSite(
            name=f"{part}.{name}.{kind}",
            to_q=attention.to_q,
            to_k=attention.to_k,
            to_v=attention.to_v,
            to_out=attention.to_out[0],
            heads=int(attention.heads),
            hidden=int(attention.to_q.out_features),
        )
        for part in parts
        for name, attention in attentions(getattr(root, part), kind)
    )


def shape_of(
    found: tuple[AttentionSite, ...],
    layers: Iterator[Attention],
    in_channels: int,
    residuals: Sequence[FeaturePlace],
    places: tuple[FeaturePlace, ...],
) -> UNetShape:
    """Return the U-Net's shape from its cross attentions and the places of residuals and features.

    Raises HostError if the U-Net has no cross attention.
    """
    first = next(layers, None)
    if first is None:
        raise HostError("the U-Net has no cross attention: controls need a text-conditioned checkpoint")
    return UNetShape(
        family=Family.of(int(first[1].to_k.in_features)),
        in_channels=in_channels,
        residual_channels=tuple(place.channels for place in residuals),
        residual_strides=tuple(place.stride for place in residuals),
        attention_hidden=tuple(site.hidden for site in found),
        heads=tuple(site.heads for site in found),
        attention_places=attention_places([site.name for site in found]),
        feature_places=places,
    )


def attention_places(names: Sequence[str]) -> tuple[AttentionPlace, ...]:
    """Return the place of each cross attention from its name, in the order of `names`.

    >>> attention_places(["down_blocks.0.a.transformer_blocks.0", "up_blocks.1.a.transformer_blocks.0",
    ...                   "mid_block.a.transformer_blocks.0"])[1]
    AttentionPlace(transformer=2, part='output')
    """
    holders = [name.partition(".transformer_blocks.")[0] for name in names]
    parts: list[UNetPart] = [_part(name) for name in holders]
    running = sorted(dict(zip(holders, parts, strict=True)).items(), key=lambda each: RUNNING.index(each[1]))
    numbers = {holder: number for number, (holder, _) in enumerate(running)}
    return tuple(AttentionPlace(numbers[name], part) for name, part in zip(holders, parts, strict=True))


RUNNING: tuple[UNetPart, ...] = ("input", "middle", "output")


def _part(name: str) -> UNetPart:
    if name.startswith(("mid_", "middle_")):
        return "middle"
    return "input" if name.startswith(("down_", "input_")) else "output"
