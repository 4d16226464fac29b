"""What the families that act on attention compute, written out on a U-Net of diffusers.

Each function changes a U-Net (a twin, see `families.twin`) so that it computes a unit's picture by itself:
attention processors, linear layers with a LoRA, blocks with other statistics. Without hooks, rows, masks and
schedules, which CtrlGen adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.unet.attention import KeyValue


def split(x: Tensor, heads: int) -> Tensor:
    """Reshape [B, N, heads * d] to [B, heads, N, d]."""
    return x.reshape(len(x), x.shape[1], heads, -1).transpose(1, 2)


def attention(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Multi-head attention, all [B, N or T, hidden]."""
    q, k, v = (split(each, heads) for each in (query, keys, values))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Processor:
    """An attention processor of diffusers: self or cross attention, whose output `changed` may change."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, **_: Any) -> Any:
        """The attention's output for its input."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        return attn.to_out[1](attn.to_out[0](self.attended(attn, *parts)))

    def attended(self, attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What is passed to `to_out`."""
        return attention(query, keys, values, attn.heads)


@dataclass
class Added(Processor):
    """IP-Adapter: the attention to image tokens beside that to the text. PuLID: less what both share.

    `pair` are keys and values [2, T, hidden] for the rows; `identity` the tokens that `ortho_v2` looks at.
    """

    pair: KeyValue
    identity: int = 0

    def attended(self, attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Text attention and the adapter's."""
        text = attention(query, keys, values, attn.heads)
        own = attention(query, self.pair.keys, self.pair.values, attn.heads)
        if self.identity:
            logits = split(query, attn.heads) @ split(self.pair.keys, attn.heads).transpose(2, 3)
            share = logits.softmax(-1).mean(1)[..., : self.identity].sum(-1, keepdim=True)
            common = (text * own).sum(-2, keepdim=True) / (text * text).sum(-2, keepdim=True) * text
            own = own + (share - 1) * common
        return text + own


class LowRankLinear(nn.Module):
    """A linear layer with a LoRA beside it."""

    def __init__(self, linear: nn.Module, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.linear, self.down, self.up = linear, down, up

    def forward(self, x: Tensor) -> Any:
        """Both outputs together."""
        return self.linear(x) + functional.linear(functional.linear(x, self.down), self.up)


@dataclass
class Reader(Processor):
    """reference: also attends to the picture's tokens, which it keeps while `bank.writing`.

    `shares` [B, 1, 1] is what each row takes of that.
    """

    bank: Bank
    seen: tuple[Tensor, Tensor] | None = None

    def attended(self, attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The attention to the row's own tokens, mixed with that to the picture's too."""
        plain = attention(query, keys, values, attn.heads)
        if self.bank.writing:
            self.seen = keys, values
            return plain
        assert self.seen is not None
        wide, shown = (torch.cat(pair, 1) for pair in zip((keys, values), self.seen, strict=True))
        return plain + self.bank.shares * (attention(query, wide, shown, attn.heads) - plain)


@dataclass(eq=False)
class Bank:
    """Whether a call records the reference, and what each row [B, 1, 1] takes of it in the others."""

    shares: Tensor
    writing: bool = False
    moments: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def moved(self, place: int, x: Tensor) -> Tensor:
        """A block's output [B, C, H, W] with the reference's mean and deviation (AdaIN)."""
        mean = x.mean((2, 3), keepdim=True)
        deviation = (x - mean).square().mean((2, 3), keepdim=True).clamp(min=1e-6).sqrt()
        if self.writing:
            self.moments[place] = mean, deviation
            return x
        own_mean, own_deviation = self.moments[place]
        changed = (x - mean) / deviation * own_deviation + own_mean
        return x + self.shares[..., None] * (changed - x)


@dataclass
class Sharer(Processor):
    """StyleAligned in google/style-aligned's form, for rows of two kinds of text one after the other."""

    def attended(self, attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The attention of each picture to itself and to the first one."""
        query, keys = moved_tokens(query), moved_tokens(keys)
        keys, values = (torch.cat((each, first_rows(each)), 1) for each in (keys, values))
        return attention(query, keys, values, attn.heads)


class SharedNorm(nn.Module):
    """A group norm that counts the first picture beside each."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """The norm's output for x [B, C, ...]."""
        found: Tensor = self.norm(torch.cat((x, first_rows(x)), 2))
        return found[:, :, : x.shape[2]]


def first_rows(x: Tensor) -> Tensor:
    """The first row of each half of the rows, in the place of every row."""
    pictures = len(x) // 2
    return x[::pictures].repeat_interleave(pictures, 0)


def moved_tokens(x: Tensor) -> Tensor:
    """x [B, N, C] with the first rows' statistics over tokens."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().sum(1, keepdim=True) / max(1, x.shape[1] - 1)
    deviation = (variance + 1e-5).sqrt()
    return (x - mean) / deviation * first_rows(deviation) + first_rows(mean)


def blocks_of(unet: Any, name: str) -> dict[str, Any]:
    """The attention modules `attn1` or `attn2` by their path."""
    return {path: module for path, module in unet.named_modules() if path.endswith(f".{name}")}


def with_terms(unet: Any, names: Sequence[str], pairs: Sequence[KeyValue], identity: int = 0) -> Any:
    """Add an adapter's attention to the cross attentions at these paths."""
    for name, pair in zip(names, pairs, strict=True):
        unet.get_submodule(name).set_processor(Added(pair, identity))
    return unet


def with_lora(unet: Any, names: Sequence[str], pairs: Mapping[tuple[int, str], tuple[Tensor, Tensor]]) -> Any:
    """Put a LoRA beside the linear layers of self attentions (even numbers) and cross attentions (odd)."""
    for (number, part), (down, up) in pairs.items():
        cross = unet.get_submodule(names[number // 2])
        self_attention = unet.get_submodule(names[number // 2].removesuffix("attn2") + "attn1")
        attn = cross if number % 2 else self_attention
        if part == "out":
            attn.to_out[0] = LowRankLinear(attn.to_out[0], down, up)
        else:
            setattr(attn, f"to_{part}", LowRankLinear(getattr(attn, f"to_{part}"), down, up))
    return unet


def with_reading(unet: Any, bank: Bank, blocks: Sequence[nn.Module] = ()) -> Any:
    """Let all self attentions read the reference, or give its statistics to these blocks' outputs."""
    for module in blocks_of(unet, "attn1").values() if not blocks else ():
        module.set_processor(Reader(bank))
    for place, block in enumerate(blocks):
        own: Any = block
        own.forward = moving(own.forward, bank, place)
    return unet


def moving(forward: Any, bank: Bank, place: int) -> Any:
    """A block's `forward` with its output moved."""

    def changed(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if isinstance(output, tuple):
            return (bank.moved(place, output[0]), *output[1:])
        return bank.moved(place, output)

    return changed


def with_sharing(unet: Any) -> Any:
    """Align all rows with the first of their kind of text: self attentions and group norms."""
    for module in blocks_of(unet, "attn1").values():
        module.set_processor(Sharer())
    norms = [path for path, module in unet.named_modules() if isinstance(module, nn.GroupNorm)]
    for path in norms:
        parent, _, leaf = path.rpartition(".")
        setattr(unet.get_submodule(parent), leaf, SharedNorm(unet.get_submodule(path)))
    return unet


class Given(nn.Module):
    """Stands for GLIGEN's position net: the objects [B, T, X] that it gave."""

    def forward(self, objects: Tensor) -> Tensor:
        """The same objects."""
        return objects


def with_boxes(unet: Any, names: Sequence[str], fusers: Sequence[nn.Module]) -> Any:
    """Give each transformer block its gated block, which diffusers' own code calls."""
    for name, fuser in zip(names, fusers, strict=True):
        unet.get_submodule(name.removesuffix(".attn2")).fuser = fuser
    unet.position_net = Given()
    return unet
