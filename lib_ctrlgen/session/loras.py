"""Adds LoRAs to the outputs of a network's layers through hooks, with weights that may change at every call.

No weight of the network is changed: a layer's output y becomes y + m1 dy1 + m2 dy2 + ..., where dy is what
the change of the weight alone would give. With all weights 0 a layer's output is its own, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lib_ctrlgen.models.loras.changes import LayerChange
from lib_ctrlgen.unet.port import Hooks


@dataclass
class LoraHooks:
    """Hooks on a network while it is entered. `changes[i]` are those of LoRA i by the path of the layer.

    `weights[i]` is the weight of LoRA i, 0 without one.
    """

    network: nn.Module
    changes: Sequence[Mapping[str, LayerChange]]
    weights: Sequence[float] = ()
    _hooks: Hooks = field(default_factory=Hooks)

    def __enter__(self) -> LoraHooks:
        """Hook every layer that a LoRA changes."""
        modules = dict(self.network.named_modules())
        with Hooks() as partial:
            for path in dict.fromkeys(path for own in self.changes for path in own):
                self._hook(partial, modules[path], [own.get(path) for own in self.changes])
            self._hooks = partial.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove all hooks."""
        self._hooks.close()

    def set(self, weights: Sequence[float]) -> None:
        """Set the weight of each LoRA from the next call on."""
        self.weights = weights

    def move(self, network: nn.Module) -> None:
        """Hook another network with the same layers instead."""
        self._hooks.close()
        self.network = network
        self.__enter__()

    def _hook(self, hooks: Hooks, layer: nn.Module, changes: Sequence[LayerChange | None]) -> None:
        def add(_layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            acting = [pair for pair in zip(self.weights, changes, strict=False) if pair[0] and pair[1]]
            if not acting:
                return None
            for weight, change in acting:
                if change is not None:
                    output = torch.add(output, change.of(layer, args[0]).to(output), alpha=weight)
            return output

        hooks.add(layer.register_forward_hook(add, prepend=True))
