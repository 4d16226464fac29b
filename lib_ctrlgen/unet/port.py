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

from lib_ctrlgen.errors import HostError

from .call import AttentionSite, CallInputs, Family, FeaturePlace, UNetShape
from .residuals import Residuals
from .shared_rows import SharedRows

Attention: TypeAlias = tuple[str, Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Effect:
    """What is done to a call: the residuals to add, and which rows need not be computed twice.

    Residuals are of the rows that are computed.
    """

    residuals: Residuals | None = None
    repeats: SharedRows | None = None


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


def narrowing(module: nn.Module, hooks: Hooks) -> Callable[[SharedRows | None, Call], Call | None]:
    """What narrows a call to the rows that are computed; a hook spreads the output over the batch again.

    The hook stands before all others, which see the whole batch.
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
    residuals: Sequence[FeaturePlace],
    places: tuple[FeaturePlace, ...],
) -> UNetShape:
    """The shape from the attention sites, and the places that residuals and features are added to.

    Raises HostError without cross attention.
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
        feature_places=places,
    )
