"""Puts an image embedding in the place of the pooled text in SDXL's vector, as ReVision does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.own_layers import PooledControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.port import Hooks, UNetPort

from .base import ActingUnit, Masks, control_of


class PooledEffect:
    """Changes the vector of conditional rows, and takes the text away from rows that ignore it.

    A row's pooled vector becomes (1 - W) text + sum of w * embedding, where w are the units' weights and W is
    their sum, at most 1. So units of weight 1 take the text's place, and their embeddings add up. Where a
    unit ignores the prompt, the text is 0 there and in cross attention.
    """

    control: ClassVar[type] = PooledControl

    def __init__(self, masks: Masks) -> None:
        del masks
        self.kept: Tensor | None = None  # the factor [B, 1] of the text's pooled vector
        self.added: Tensor | None = None  # [B, P]
        self.ignoring: list[int] = []

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook the module that embeds the vector, and what reads the text. Raises HostError without one."""
        module = port.vector_embedding()
        if module is None:
            raise HostError("the U-Net has no vector for a pooled text: ReVision needs an SDXL checkpoint")

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.changed(args[0]), *args[1:]) if self.added is not None else None

        def without_text(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if not self.ignoring:
                return None
            text = args[0].clone()
            text[self.ignoring] = 0
            return (text, *args[1:])

        hooks.add(module.register_forward_pre_hook(change))
        for site in port.attention_sites():
            hooks.add(site.to_k.register_forward_pre_hook(without_text))
            hooks.add(site.to_v.register_forward_pre_hook(without_text))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Compute what is added to the vector of each row in this call."""
        self.end()
        if not acting:
            return
        controls = [control_of(each.unit, PooledControl) for each in acting]
        weights = [
            [0.0 if row_weight is None else row_weight.weight for row_weight in each.row_weights]
            for each in acting
        ]
        ignored = [
            any(by[row] and control.ignores_prompt for by, control in zip(weights, controls, strict=True))
            for row in range(call.batch)
        ]
        self.ignoring = [row for row, each in enumerate(ignored) if each]
        totals = torch.tensor(weights).sum(0).clamp(0, 1)
        totals[ignored] = 1.0
        self.kept = 1 - totals[:, None]
        self.added = sum_of([torch.tensor(by)[:, None] for by in weights], controls)

    def changed(self, vector: Tensor) -> Tensor:
        """Return the vector [B, P + ...] with another beginning."""
        if self.added is None or self.kept is None:
            return vector
        width = self.added.shape[1]
        pooled = vector[:, :width].float() * self.kept.to(vector.device) + self.added.to(vector.device)
        return torch.cat((pooled.to(vector), vector[:, width:]), 1)

    def end(self) -> None:
        """Clear what was prepared for the call."""
        self.kept, self.added, self.ignoring = None, None, []

    def close(self) -> None:
        """Clear what was prepared for the call."""
        self.end()


def sum_of(weights: Sequence[Tensor], controls: Sequence[PooledControl]) -> Tensor:
    """Return the sum of the embeddings [1, P], each times the weights [B, 1] of its unit, [B, P]."""
    parts = [by * control.embedding().float().cpu() for by, control in zip(weights, controls, strict=True)]
    return torch.stack(parts).sum(0)
