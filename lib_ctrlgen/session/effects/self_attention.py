"""What effects on self attention share: the queries, keys and values of a call, and blocks' outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.row_weights import RowWeight
from lib_ctrlgen.unet.attention import token_mask
from lib_ctrlgen.unet.call import AttentionSite
from lib_ctrlgen.unet.port import Hooks

from .base import Size

PARTS = ("to_q", "to_k", "to_v")
Attended: TypeAlias = tuple[Tensor, Tensor, Tensor]  # query, keys and values, [B, N, hidden] each


@dataclass
class AttentionSeen:
    """The outputs of `to_q`, `to_k` and `to_v` of each self attention that is running, by its number."""

    found: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def watch(self, hooks: Hooks, place: int, site: AttentionSite, wanted: Callable[[], bool]) -> None:
        """Record the outputs of self attention number `place` while `wanted` returns true."""
        for part in PARTS:
            self._watch(hooks, (place, part), getattr(site, part), wanted)

    def _watch(
        self, hooks: Hooks, key: tuple[int, str], module: nn.Module, wanted: Callable[[], bool]
    ) -> None:
        def keep(_module: nn.Module, _args: object, output: Tensor) -> None:
            if wanted():
                self.found[key] = output

        hooks.add(module.register_forward_hook(keep))

    def take(self, place: int, hidden: Tensor, batch: int) -> Attended:
        """Return query, keys and values [B, N, hidden] of a self attention whose output is `hidden`.

        `batch` is the number of rows of the U-Net's call.

        Raises HostError if the host's attention code does not call `to_q`, `to_k` and `to_v`, or cuts the
        picture into tiles.
        """
        query, keys, values = (self.found.pop((place, part), None) for part in PARTS)
        if query is None or keys is None or values is None:
            raise HostError(
                "self attention was called without its query, keys and values: an unknown attention "
                "optimisation"
            )
        if query.shape[:2] != hidden.shape[:2] or not len(keys) == len(values) == len(hidden) == batch:
            raise HostError(
                "self attention does not see the rows of the U-Net's call: an extension cuts or joins them; "
                "switch it off (HyperTile does so), or the units that act on self attention"
            )
        return query, keys, values

    def clear(self) -> None:
        """Drop what was recorded."""
        self.found.clear()


def mask_on_tokens(mask: Tensor, tokens: int, size: Size) -> Tensor:
    """Return a mask [1 or B, 1, h, w] at a layer's tokens [1 or B, N, 1], for a latent of this size.

    Raises HostError where the layer's tokens are no whole picture.
    """
    try:
        return token_mask(mask, tokens, size)
    except ValueError as error:
        raise HostError(
            f"a unit with a mask acts on self attention, which sees {tokens} tokens, and they are no whole "
            "picture: switch token merging off, or take the mask away"
        ) from error


def strength(row_weight: RowWeight, layer: int | None = None) -> float:
    """Return a row's weight times its weight for self attention number `layer`; negative ones count as 0."""
    layers = row_weight.layers
    own = 1.0 if layer is None or layers is None else layers[layer]
    return max(row_weight.weight, 0.0) * max(own, 0.0)


def output_of(output: Any) -> Tensor:
    """Return the hidden state from a block's output: a tensor, or a tuple that begins with it."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def with_output(output: Any, changed: Tensor) -> Any:
    """Return a block's output with another hidden state."""
    return (changed, *output[1:]) if isinstance(output, tuple) else changed
