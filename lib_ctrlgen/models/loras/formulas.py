"""The change of a layer's weight, from the tensors that a LoRA file has for the layer.

LoRA: Hu et al. 2021; LoCon, LoHa, LoKr, IA3 and GLoRA as LyCORIS stores them (Yeh et al. 2023, Navigating
Text-To-Image Customization); DoRA: Liu et al. 2024. Where programs differ, the result is that of the WebUI's
built-in extension Lora: for example, DoRA's norm is taken over the output channels and the kernel, for each
input channel.

Tensors are named as in kohya's layout, without the layer: `lora_down.weight`, `alpha`, `hada_w1_a`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import ModelError

Pieces: TypeAlias = Mapping[str, Tensor]
Change: TypeAlias = Callable[[Pieces, Tensor], Tensor]

INPAINTING = 9  # channels of an inpainting U-Net's first convolution
EXTRA = frozenset({"alpha", "scale", "dora_scale", "bias"})  # pieces that any kind may have


def weight_change(pieces: Pieces, weight: Tensor) -> Tensor:
    """The change of a layer's `weight` at strength 1, in float32 and the weight's shape.

    Raises ModelError for pieces of an unknown kind or of a wrong shape.
    """
    weight = weight.float()
    kind = kind_of(pieces)
    change = KINDS[kind](pieces, weight)
    if "bias" in pieces:
        change = (change.reshape(pieces["bias"].shape) + pieces["bias"].float()).reshape(change.shape)
    if change.numel() == weight.numel():
        change = change.reshape(weight.shape)
    change = padded(change, weight) * scale_of(pieces)
    if change.shape != weight.shape:
        raise ModelError(f"its change is {tuple(change.shape)}, and the layer's weight {tuple(weight.shape)}")
    return change if "dora_scale" not in pieces else _decomposed(change, weight, pieces["dora_scale"])


def bias_change(pieces: Pieces) -> Tensor | None:
    """The change of a layer's bias at strength 1, in float32; None for none."""
    found = next((pieces[name] for name in ("diff_b", "b_norm") if name in pieces), None)
    return None if found is None else found.float()


def kind_of(pieces: Pieces) -> str:
    """The name of the kind of change in `KINDS`. Raises ModelError where none has these pieces."""
    for name, (required, _) in NEEDS.items():
        if all(any(option <= pieces.keys() for option in options) for options in required):
            return name
    raise ModelError(f"the tensors {', '.join(sorted(pieces))} are of no known kind: {_advice(pieces)}")


def require_known(pieces: Pieces) -> str:
    """Return `kind_of(pieces)`. Raises ModelError also for pieces that this kind does not read."""
    kind = kind_of(pieces)
    unread = pieces.keys() - NEEDS[kind][1] - EXTRA
    if unread:
        raise ModelError(f"a {kind} with the tensors {', '.join(sorted(unread))} is not supported")
    return kind


def scale_of(pieces: Pieces) -> float:
    """The factor of a change: `scale`, or alpha / rank where the file has both, or 1."""
    if "scale" in pieces:
        return float(pieces["scale"])
    rank = next((len(pieces[name]) for name in RANKS if name in pieces), None)
    return float(pieces["alpha"]) / rank if rank and "alpha" in pieces else 1.0


def padded(change: Tensor, weight: Tensor) -> Tensor:
    """The change with zeros for the further input channels of an inpainting U-Net's first convolution."""
    if weight.ndim == 4 and weight.shape[1] == INPAINTING and change.ndim == 4:
        return functional.pad(change, (0, 0, 0, 0, 0, INPAINTING - change.shape[1]))
    return change


def _decomposed(change: Tensor, weight: Tensor, dora_scale: Tensor) -> Tensor:
    """DoRA: the changed weight scaled to the learned norms, minus the weight."""
    merged = weight + change
    flat = merged.transpose(0, 1).reshape(merged.shape[1], -1)
    norm = flat.norm(dim=1).reshape(1, -1, *[1] * (merged.ndim - 2))
    result: Tensor = merged * (dora_scale.float() / norm) - weight
    if result.shape != weight.shape:
        raise ModelError(f"its dora_scale is {tuple(dora_scale.shape)}, the weight {tuple(weight.shape)}")
    return result


def _product(up: Tensor, down: Tensor) -> Tensor:
    """up [out, rank, ...] times down [rank, in, ...], in the shape [out, in, ...] of the kernel in `down`."""
    product = up.float().reshape(len(up), -1) @ down.float().reshape(len(down), -1)
    return product.reshape(len(up), *down.shape[1:])


def _lora(pieces: Pieces, _weight: Tensor) -> Tensor:
    up, down = pieces["lora_up.weight"], pieces["lora_down.weight"]
    if "lora_mid.weight" not in pieces:
        return _product(up, down)
    mid = pieces["lora_mid.weight"].float()
    flat = [each.float().reshape(len(each), -1) for each in (up, down)]
    product: Tensor = torch.einsum("nmkl,in,mj->ijkl", mid, *flat)
    return product


def _cp(core: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A convolution's weight [out, in, k, l] from a core [r, s, k, l] and [r, out], [s, in]."""
    product: Tensor = torch.einsum("rskl,ro,si->oikl", core.float(), first.float(), second.float())
    return product


def _loha(pieces: Pieces, _weight: Tensor) -> Tensor:
    parts = []
    for number in (1, 2):
        first, second = (pieces[f"hada_w{number}_{letter}"] for letter in "ab")
        core = pieces.get(f"hada_t{number}")
        parts.append(_product(first, second) if core is None else _cp(core, first, second))
    return parts[0] * parts[1]


def _lokr(pieces: Pieces, weight: Tensor) -> Tensor:
    first, second = (_factor(pieces, number) for number in (1, 2))
    if second.ndim == 4:
        first = first[:, :, None, None]
    product = torch.kron(first, second.contiguous())
    return product.reshape(weight.shape) if product.numel() == weight.numel() else product


def _factor(pieces: Pieces, number: int) -> Tensor:
    """One factor of LoKr's Kronecker product, whole or as a low-rank product."""
    name = f"lokr_w{number}"
    if name in pieces:
        return pieces[name].float()
    first, second = pieces[f"{name}_a"].float(), pieces[f"{name}_b"].float()
    core = pieces.get(f"lokr_t{number}")
    return first @ second if core is None else _cp(core, first, second)


def _ia3(pieces: Pieces, weight: Tensor) -> Tensor:
    factors = pieces["weight"].float()
    if not bool(pieces["on_input"]):
        factors = factors.reshape(-1, *[1] * (weight.ndim - 1))
    return weight * factors


def _glora(pieces: Pieces, weight: Tensor) -> Tensor:
    a1, a2, b1, b2 = (pieces[f"{name}.weight"].float() for name in ("a1", "a2", "b1", "b2"))
    return b2 @ b1 + (weight @ a2) @ a1


def _full(pieces: Pieces, _weight: Tensor) -> Tensor:
    return pieces["diff"].float()


def _norm(pieces: Pieces, _weight: Tensor) -> Tensor:
    return pieces["w_norm"].float()


def _needs(*required: str, more: str = "") -> tuple[tuple[tuple[frozenset[str], ...], ...], frozenset[str]]:
    """What a kind requires and reads; each requirement is names joined by +, alternatives by |."""
    options = tuple(tuple(frozenset(one.split("+")) for one in each.split("|")) for each in required)
    known = frozenset(name for each in options for one in each for name in one) | frozenset(more.split())
    return options, known


NEEDS: Mapping[str, tuple[tuple[tuple[frozenset[str], ...], ...], frozenset[str]]] = MappingProxyType(
    {
        "LoRA": _needs("lora_up.weight", "lora_down.weight", more="lora_mid.weight"),
        "LoHa": _needs("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", more="hada_t1 hada_t2"),
        "IA3": _needs("weight", "on_input"),
        "LoKr": _needs("lokr_w1|lokr_w1_a+lokr_w1_b", "lokr_w2|lokr_w2_a+lokr_w2_b", more="lokr_t2"),
        "full difference": _needs("diff", more="diff_b"),
        "norm": _needs("w_norm", more="b_norm"),
        "GLoRA": _needs("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"),
    }
)
KINDS: Mapping[str, Change] = MappingProxyType(
    {
        "LoRA": _lora,
        "LoHa": _loha,
        "IA3": _ia3,
        "LoKr": _lokr,
        "full difference": _full,
        "norm": _norm,
        "GLoRA": _glora,
    }
)
RANKS = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")  # their first dimension is the rank
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "oft_": "OFT and BOFT files are not supported so far",
        "lora_magnitude_vector": "DoRA in peft's layout is not supported: convert the file to kohya's layout",
        "bias_indices": "sparse biases of LyCORIS are not supported",
    }
)


def _advice(pieces: Pieces) -> str:
    known = (text for start, text in REFUSED.items() if any(name.startswith(start) for name in pieces))
    return next(known, f"the kinds are {', '.join(KINDS)}")
