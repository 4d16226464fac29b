"""reference and StyleAligned written out densely, without hooks: attention modules of a copy are replaced.

They follow sd-webui-controlnet's `hacked_basic_transformer_inner_forward` and `hacked_group_norm_forward`,
row by row, and google/style-aligned's `sa_handler.py`, for the rows of one kind of text.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support.block_reference import softmax_attention
from tests.support.denoised_reference import diffusion
from tests.support.networks import Call
from tests.support.unet_calls import port_of, run

SD_ENCODER, SD_DECODER = (4, 5, 7, 8, 10, 11), 8  # sd-webui-controlnet's lists for SD1.5
XL_ENCODER, XL_DECODER = (4, 5, 7, 8), 6  # and for SDXL


def loaded(unet: Any, *units: dict[str, Any], pictures: int = 1, **fields: Any) -> tuple[ActiveUnit, ...]:
    """Units of a request, loaded for a U-Net with a VAE that needs no network."""
    request = parse_request({"units": list(units)})
    target = Target(
        store=ModelStore([], 1 << 30),
        shape=port_of(unet).shape,
        unet=unet,
        diffusion=diffusion(),
        canvas=Canvas(pictures=pictures),
        **fields,
    )
    return load_units(request.units, target)


class Replaced(nn.Module):
    """An attention module whose `forward` calls `act(module, x)`."""

    def __init__(self, inner: Any, act: Any) -> None:
        super().__init__()
        self.inner, self.act = inner, act

    def forward(self, x: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        found: Tensor = self.act(self, x)
        return found

    def attention(self, x: Tensor, context: Tensor) -> Tensor:
        """Attention of one row [1, N, C] to a context [1, T, C]."""
        inner = self.inner
        parts = inner.to_q(x)[0], inner.to_k(context)[0], inner.to_v(context)[0]
        found: Tensor = inner.to_out[0](softmax_attention(*parts, inner.heads))[None]
        return found


@dataclass(kw_only=True)
class Shown:
    """A reference picture: the noised latent [1, C, h, w], its fidelities, coverages and weight."""

    x: Tensor
    fidelity: float = 0.5
    adain_fidelity: float = 0.5
    attention: float = 0.0
    adain: float = 0.0
    weight: float = 1.0


@dataclass
class DenseReference:
    """A copy of a U-Net that reads banks; all pictures have the same weight and fidelity."""

    unet: Any
    shown: Sequence[Shown] = ()
    cond: bool = True
    writing: Shown | None = None
    banks: dict[Any, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unet = copy.deepcopy(self.unet)
        blocks = [module for _, module in self.unet.named_modules() if hasattr(module, "attn1")]
        tops = "input_blocks down_blocks", "middle_block mid_block", "output_blocks up_blocks"
        parts = [part for names in tops for name in names.split() for part in self.part(name)]
        ordered = sorted((b for b in parts if b in blocks), key=lambda b: -b.norm1.normalized_shape[0])
        for number, block in enumerate(ordered):
            block.attn1 = Replaced(block.attn1, self.attended)
            block.attn1.threshold = number / len(ordered)
        for block, threshold in self.thresholds():
            self.wrap(block, threshold)

    def part(self, name: str) -> list[nn.Module]:
        return [m for _, m in getattr(self.unet, name).named_modules()] if hasattr(self.unet, name) else []

    def thresholds(self) -> list[tuple[Any, float]]:
        unet = self.unet
        if hasattr(unet, "input_blocks"):
            is_xl = len(unet.input_blocks) == 9
            encoder = [unet.input_blocks[i] for i in (XL_ENCODER if is_xl else SD_ENCODER)]
            decoder = list(unet.output_blocks[: XL_DECODER if is_xl else SD_DECODER])
            middle = unet.middle_block
        else:  # the same blocks of SD1.5 in diffusers
            down, up, middle = unet.down_blocks, unet.up_blocks, unet.mid_block
            encoder = [*down[1].attentions, *down[2].attentions, *down[3].resnets]
            decoder = [*up[0].resnets[:2], up[0].upsamplers[0], *up[1].attentions[:2], up[1].upsamplers[0]]
            decoder += up[2].attentions[:2]
        down_weights = [2 * (1 - k / len(encoder)) for k in range(len(encoder))]
        up_weights = [2 * k / len(decoder) for k in range(len(decoder))]
        pairs = zip([middle, *encoder, *decoder], [0.0, *down_weights, *up_weights], strict=True)
        return list(pairs)

    def wrap(self, block: Any, threshold: float) -> None:
        inner = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            if isinstance(output, tuple):
                return (self.normalised(block, threshold, output[0]), *output[1:])
            return self.normalised(block, threshold, output)

        block.forward = forward

    def attended(self, module: Replaced, x: Tensor) -> Tensor:
        plain = module.attention(x, x)
        if self.writing is not None:
            if self.writing.attention > module.threshold:
                self.banks.setdefault(module, []).append(x)
            return plain
        if module not in self.banks:
            return plain
        seen = module.attention(x, torch.cat([x, *self.banks[module]], 1))
        return self.mixed(plain, seen, self.shown[0].fidelity)

    def normalised(self, block: Any, threshold: float, x: Tensor) -> Tensor:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        if self.writing is not None:
            if self.writing.adain > threshold:
                self.banks.setdefault(block, []).append((mean, variance))
            return x
        if block not in self.banks:
            return x
        wanted = [torch.stack(each).mean(0) for each in zip(*self.banks[block], strict=True)]
        sigma, wide = (value.clamp(min=1e-6).sqrt() for value in (variance, wanted[1]))
        moved = (x - mean) / sigma * wide + wanted[0]
        return self.mixed(x, moved, self.shown[0].adain_fidelity)

    def mixed(self, plain: Tensor, seen: Tensor, fidelity: float) -> Tensor:
        share = self.shown[0].weight * (1.0 if self.cond else 1.0 - fidelity)
        return plain + share * (seen - plain)

    def __call__(self, call: Call, shown: Sequence[Shown]) -> Tensor:
        """The prediction, row by row; each row has its own call with each picture and its own text."""
        rows = []
        for row in range(len(call.rows)):
            one = call.row(row)
            self.shown, self.cond, self.banks = shown, one.rows.cond[0], {}
            for self.writing in shown:
                run(self.unet, replace(one, x=self.writing.x))
            self.writing = None
            rows.append(run(self.unet, one))
        return torch.cat(rows)


def expanded(x: Tensor) -> Tensor:
    """The first row in the place of every row."""
    return x[:1].expand_as(x)


def adain(x: Tensor) -> Tensor:
    """x [B, N, C] with the first row's statistics over tokens."""
    unbiased = x.shape[1] > 1  # the variance of a single token is 0
    mean, deviation = x.mean(1, keepdim=True), (x.var(1, keepdim=True, unbiased=unbiased) + 1e-5).sqrt()
    return (x - mean) / deviation * expanded(deviation) + expanded(mean)


@dataclass
class DenseAligned:
    """google/style-aligned on a copy of a U-Net, for rows of one kind of text, of which the first leads."""

    unet: Any
    scale: float = 1.0
    shift: float = 0.0
    norms: bool = True
    alone: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.unet = copy.deepcopy(self.unet)
        tops = ("input_blocks", "output_blocks", "middle_block", "down_blocks", "up_blocks", "mid_block")
        parts = [getattr(self.unet, top) for top in tops if hasattr(self.unet, top)]
        blocks = [m for part in parts for _, m in part.named_modules() if hasattr(m, "attn1")]
        for number, block in enumerate(blocks):
            if number not in self.alone:
                block.attn1 = Replaced(block.attn1, self.shared)
        for module in list(self.unet.modules()):
            if self.norms and isinstance(module, nn.GroupNorm):
                self.wrap(module)

    def wrap(self, norm: Any) -> None:
        inner = norm.forward

        def forward(x: Tensor) -> Tensor:
            height = x.shape[-2]
            found: Tensor = inner(torch.cat([x, expanded(x)], dim=-2))
            return found[..., :height, :]

        norm.forward = forward

    def shared(self, module: Replaced, x: Tensor) -> Tensor:
        inner = module.inner
        query, keys, values = adain(inner.to_q(x)), adain(inner.to_k(x)), inner.to_v(x)
        scales = torch.tensor([1.0, *[self.scale] * (len(x) - 1)]).reshape(-1, 1, 1)
        keys, values = torch.cat([keys, scales * expanded(keys)], 1), torch.cat([values, expanded(values)], 1)
        shape = len(x), -1, inner.heads, query.shape[2] // inner.heads
        q, k, v = (each.reshape(shape).transpose(1, 2) for each in (query, keys, values))
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        logits[..., x.shape[1] :] += self.shift
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(query.shape)
        found: Tensor = inner.to_out[0](mixed)
        return found

    def __call__(self, call: Call) -> Tensor:
        """The predictions of the rows, which see the first of them."""
        return run(self.unet, call)
