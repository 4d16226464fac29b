"""Observes cross attention: where each word of the prompt, and each unit's reference picture, acts.

Heat maps of words: Tang et al. 2022, What the DAAM: Interpreting Stable Diffusion Using Cross Attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.attention_protocols import LayeredControl
from lib_ctrlgen.controls.protocols import AttentionControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.unet.attention import level_size, split_heads
from lib_ctrlgen.unet.call import AttentionPlace, AttentionSite
from lib_ctrlgen.unet.port import Hooks

from .unit_residuals import rms
from .work import Bench, Observer


@dataclass
class AttentionMaps(Observer):
    """The attention of the last conditional row, summed over layers and calls.

    words   [T, h, w]: how much each place of the latent reads each token of the prompt
    tokens  by a unit's place [t, h, w]: how much each place reads each token of its reference picture
    added   [h, w]: the size of what all units add, relative to the attention to the text
    shares  for each call the same per layer, a number
    places  where each layer is
    """

    size: tuple[int, int]
    words: Tensor = field(default_factory=lambda: torch.zeros(0))
    tokens: dict[int, Tensor] = field(default_factory=dict)
    added: Tensor = field(default_factory=lambda: torch.zeros(0))
    shares: list[list[float]] = field(default_factory=list)
    places: tuple[AttentionPlace, ...] = ()
    queries: dict[int, Tensor] = field(default_factory=dict)
    texts: dict[int, Tensor] = field(default_factory=dict)
    count: int = 0

    def before(self, hooks: Hooks, bench: Bench) -> None:
        """Keep what each cross attention reads, and its attention to the text."""
        sites = bench.port.attention_sites()
        self.places = bench.port.shape.attention_places

        def begin(_module: nn.Module, _args: object) -> None:
            self.shares.append([0.0] * len(sites))

        hooks.add(bench.port.module.register_forward_pre_hook(begin))
        for place, site in enumerate(sites):
            self.hook(hooks, place, site)

    def hook(self, hooks: Hooks, place: int, site: AttentionSite) -> None:
        """Hook one cross attention."""

        def keep_query(_module: nn.Module, _args: object, output: Tensor) -> None:
            self.queries[place] = output[-1:]

        def read(_module: nn.Module, _args: object, output: Tensor) -> None:
            found = self.on_grid(probabilities(self.queries[place], output[-1:], site.heads))
            self.words = found if self.count == 0 else self.words + found
            self.count += 1

        def keep_text(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.texts[place] = args[0][-1:]

        hooks.add(site.to_q.register_forward_hook(keep_query))
        hooks.add(site.to_k.register_forward_hook(read))
        hooks.add(site.to_out.register_forward_pre_hook(keep_text))

    def after(self, hooks: Hooks, bench: Bench) -> None:
        """Measure what the units added to the attention to the text, and what their tokens are read for."""

        def measure(place: int) -> Any:
            def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
                text = self.texts.pop(place)
                change = args[0][-1:] - text
                self.shares[-1][place] = rms(change) / (rms(text) or 1.0)
                share = change.norm(dim=-1) / text.norm(dim=-1).clamp(min=1e-6)
                found = self.on_grid(share[..., None])[0]
                self.added = found if self.added.numel() == 0 else self.added + found

            return hook

        def read(_module: nn.Module, _args: object, _output: object) -> None:
            for place, unit in enumerate(bench.units):
                acts = isinstance(unit.control, AttentionControl) and bench.weight(unit, bench.clock.now.step)
                if acts:
                    self.read_unit(place, unit, bench)

        for place, site in enumerate(bench.port.attention_sites()):
            hooks.add(site.to_out.register_forward_pre_hook(measure(place)))
        hooks.add(bench.port.module.register_forward_hook(read))

    def read_unit(self, place: int, unit: ActiveUnit, bench: Bench) -> None:
        """Add what each place of the latent reads of a unit's tokens in the call that ends."""
        sites, position = bench.port.attention_sites(), bench.clock.now
        control: Any = unit.control
        if isinstance(control, LayeredControl):
            control = control.parts(position.step / position.steps)[0].control
        like = self.queries[0]
        for number, pair in enumerate(control.terms(sites, like.dtype, like.device)):
            keys = pair.to(like).keys[1:]
            found = self.on_grid(probabilities(self.queries[number], keys, sites[number].heads))
            self.tokens[place] = self.tokens[place] + found if place in self.tokens else found

    def on_grid(self, found: Tensor) -> Tensor:
        """Numbers [1, N, T] of a layer's N places as maps [T, h, w] of the latent's size."""
        height, width = level_size(found.shape[1], self.size)
        maps = found[0].T.reshape(1, -1, height, width).float()
        resized = functional.interpolate(maps, size=self.size, mode="bilinear", align_corners=False)
        return resized[0]


def probabilities(query: Tensor, keys: Tensor, heads: int) -> Tensor:
    """softmax(Q K^T / sqrt d), averaged over the heads: query [1, N, c], keys [1, T, c] -> [1, N, T].

    Vaswani et al. 2017, Attention Is All You Need, equation 1.
    """
    q, k = split_heads(query, heads).float(), split_heads(keys, heads).float()
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1).mean(1)
