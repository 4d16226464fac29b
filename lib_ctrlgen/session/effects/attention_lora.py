"""Adds a LoRA to the linear layers of every attention, for IP-Adapter FaceID.

The layers' weights are not changed: the output of a layer gets `up(down(x))` added in the rows on which the
unit acts. So removing the hooks restores the U-Net exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.attention_protocols import LoraControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.attention_parts import AttentionPart, attention_parts
from lib_ctrlgen.unet.call import UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.row_factors import factor, times

from .base import ActingUnit, Masks, control_of

Place = tuple[int, str]


@dataclass(frozen=True)
class LowRank:
    """A change of a linear layer in one call: `up(down(x))` times the weight of each row of the batch."""

    down: Tensor
    up: Tensor
    weights: tuple[float, ...]

    def added(self, output: Tensor, x: Tensor) -> Tensor:
        """The layer's output [B, N, out] for its input `x` [B, N, in], with the change added.

        Hypertile cuts each row into several, so that B is a multiple of the number of rows. Raises HostError
        for another B.
        """
        tiles, rest = divmod(len(x), len(self.weights))
        if rest:
            raise HostError(
                f"an attention layer has {len(x)} rows in a call of {len(self.weights)}: FaceID's LoRA "
                "cannot tell them apart; switch off what joins rows, or set lora_weight to 0"
            )
        numbers = [weight for weight in self.weights for _ in range(tiles)]
        rows = [row for row, weight in enumerate(numbers) if weight]
        index = slice(None) if len(rows) == len(numbers) else row_index(rows)
        low = functional.linear(x[index], self.down.to(x))
        change = times(functional.linear(low, self.up.to(x)), factor([numbers[row] for row in rows]))
        if len(rows) == len(numbers):
            return output + change.to(output)
        output = output.clone()
        output[index] += change.to(output)
        return output


class AttentionLoraEffect:
    """Adds the units' LoRAs to the outputs of `to_q`, `to_k`, `to_v` and `to_out` of every attention.

    Its hooks run before those of the effects that read these outputs. Units that share a LoRA, such as two
    faces of one FaceID file, apply it once: in each row with the largest of their weights.
    """

    control: ClassVar[type] = LoraControl

    def __init__(self, _masks: Masks) -> None:
        self.parts: tuple[AttentionPart, ...] = ()
        self.changes: dict[Place, list[LowRank]] = {}
        self.held = ExitStack()

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every linear layer of every attention."""
        self.parts = attention_parts(port.module)
        for each in self.parts:
            self.hook(hooks, each)

    def hook(self, hooks: Hooks, part: AttentionPart) -> None:
        """Hook one layer to change its output."""

        def add(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            changes = self.changes.get(part.place)
            if not changes:
                return None
            for change in changes:
                output = change.added(output, args[0])
            return output

        hooks.add(part.module.register_forward_hook(add, prepend=True))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Prepare the changes of every layer for this call."""
        self.end()
        weights: dict[int, list[float]] = {}
        loras = {}
        for each in acting:
            control = control_of(each.unit, LoraControl)
            lora = control.lora
            own = [0.0 if one is None else control.lora_weight for one in each.row_weights]
            before = weights.get(id(lora), [0.0] * call.batch)
            weights[id(lora)] = [max(pair, key=abs) for pair in zip(before, own, strict=True)]
            loras[id(lora)] = lora
        for key, lora in loras.items():
            if not any(weights[key]):
                continue
            self.held.enter_context(lora.weights.present())
            for place, (down, up) in lora.pairs().items():
                change = LowRank(down, up, tuple(weights[key]))
                self.changes.setdefault(place, []).append(change)

    def end(self) -> None:
        """Clear the changes, and release the LoRAs' weights."""
        self.changes = {}
        self.held.close()

    def close(self) -> None:
        """Clear the changes and the references to the U-Net's layers."""
        self.end()
        self.parts = ()
