"""The formulas of blends on tensors: combining predictions, text features, noises and latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_ctrlgen.prompts.blended import Shares
from lib_ctrlgen.unet.residuals import softened

PARALLEL = 0.9995  # slerp is lerp for vectors with a cosine above this
TINY = 1e-12


def slerp(first: Tensor, last: Tensor, fraction: Tensor | float, dims: int = 1) -> Tensor:
    """Spherical linear interpolation; a vector is all but the first `dims` axes of a tensor.

    sin((1 - f) a) / sin a * first + sin(f a) / sin a * last, where a is the angle between both (Shoemake
    1985, Animating Rotation with Quaternion Curves). Linear where they are parallel, opposite or zero.
    `fraction` f is a number, or a tensor of the first `dims` axes.
    """
    flat_a, flat_b = first.flatten(dims), last.flatten(dims)
    share = torch.as_tensor(fraction, dtype=first.dtype, device=first.device)
    share = share.expand(flat_a.shape[:-1])[..., None]
    norms = flat_a.norm(dim=-1, keepdim=True) * flat_b.norm(dim=-1, keepdim=True)
    cosine = (flat_a * flat_b).sum(-1, keepdim=True) / norms.clamp(min=TINY)
    straight = (cosine.abs() > PARALLEL) | (norms <= TINY)
    angle = torch.acos(cosine.clamp(-1, 1).masked_fill(straight, 0.0))
    turned = (torch.sin((1 - share) * angle) * flat_a + torch.sin(share * angle) * flat_b) / torch.sin(angle)
    return torch.where(straight, torch.lerp(flat_a, flat_b, share), turned).reshape(first.shape)


def slerp_many(vectors: Sequence[Tensor], weights: Tensor, dims: int = 1) -> Tensor:
    """Slerp of K vectors by weights [..., K] >= 0, one after the other.

    Each vector is mixed into the result of the earlier ones, by its share of the sum of weights so far.
    """
    mixed, total = vectors[0], weights[..., 0]
    for index, vector in enumerate(vectors[1:], 1):
        total = total + weights[..., index]
        share = torch.where(total > 0, weights[..., index] / total.clamp(min=TINY), torch.zeros_like(total))
        mixed = slerp(mixed, vector, share, dims)
    return mixed


def mixed_features(features: Sequence[Tensor], empty: Tensor, weights: Tensor, *, spherical: bool) -> Tensor:
    """Mix the text features [B, T, X] of K concepts around those of the empty prompt.

    e_0 + sum w_k (e_k - e_0) for `weights` [B, K]; with `spherical` the differences are mixed by slerp, token
    by token, and scaled by the sum of the weights.
    """
    deltas = [each - empty for each in features]
    if spherical:
        tokens = weights[:, None, :].expand(-1, deltas[0].shape[1], -1)
        return empty + slerp_many(deltas, tokens, dims=2) * weights.sum(1)[:, None, None]
    total = torch.zeros_like(deltas[0])
    for index, delta in enumerate(deltas):
        total = total + weights[:, index].reshape(-1, *(1,) * (delta.ndim - 1)) * delta
    return empty + total


def mixed_noises(noises: Sequence[Tensor], weights: Tensor, *, spherical: bool) -> Tensor:
    """Mix K noises [B, C, h, w] by weights [K], or by [K, 1, 1, h, w] with masks.

    With `spherical` and without masks they are mixed by slerp; otherwise by sum a_k n_k / sqrt(sum a_k^2) per
    element, which keeps unit variance. Where all weights are zero, the result is the first noise.
    """
    if spherical and weights.ndim == 1:
        return slerp_many(noises, weights.expand(len(noises[0]), -1))
    shares = weights.reshape(len(noises), 1, 1, 1, 1) if weights.ndim == 1 else weights
    total = shares.square().sum(0).sqrt()
    mixed = sum_of(shares, torch.stack(list(noises))) / total.clamp(min=TINY)
    return torch.where(total > TINY, mixed, noises[0])


def mixed_latents(latents: Sequence[Tensor], weights: Tensor, *, spherical: bool) -> Tensor:
    """Mix K clean latents [B, C, h, w] by weights as in `mixed_noises`: by slerp, or to the weighted mean."""
    if spherical and weights.ndim == 1:
        return slerp_many(latents, weights.expand(len(latents[0]), -1))
    shares = weights.reshape(len(latents), 1, 1, 1, 1) if weights.ndim == 1 else weights
    total = shares.sum(0)
    mixed = sum_of(shares, torch.stack(list(latents))) / total.clamp(min=TINY)
    return torch.where(total > TINY, mixed, latents[0])


def sum_of(shares: Tensor, values: Tensor) -> Tensor:
    """The weighted sum over the first axis."""
    return (shares * values).sum(0)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How the deltas c_k - u of a picture's concepts are combined to one delta.

    mode       prediction, perpendicular or saliency
    normalise  whether to divide by the sum of weights times masks, element by element
    masks      [K, 1, h, w] in 0..1, or None
    """

    mode: str
    normalise: bool = False
    masks: Tensor | None = None

    def __call__(
        self, deltas: Tensor, weights: Sequence[float], strengths: Sequence[float] | None = None
    ) -> Tensor:
        """Combine the deltas [K, C, h, w] of K concepts with their weights to one [C, h, w].

        `strengths` are those of the masks, 0..1; None: all are 1.
        """
        shares = torch.tensor(tuple(weights), dtype=deltas.dtype, device=deltas.device)[:, None, None, None]
        if self.masks is not None:
            held = torch.tensor(tuple(strengths or (1.0,) * len(deltas)), dtype=deltas.dtype)
            shares = shares * softened(self.masks.to(deltas), held.to(deltas)[:, None, None, None])
        if self.normalise:
            total = shares.sum(0)
            shares = torch.where(total > TINY, shares / total.clamp(min=TINY), torch.zeros_like(shares))
        if self.mode == "saliency":
            return most_salient(deltas, shares)
        return sum_of(shares, perpendicular(deltas) if self.mode == "perpendicular" else deltas)


def perpendicular(deltas: Tensor) -> Tensor:
    """Keep the first of [K, C, h, w], and of each other v the part perpendicular to it: v - n <n, v> / |n|^2.

    Perp-Neg, arXiv 2304.04968.
    """
    first = deltas[0].flatten()
    others = deltas[1:].flatten(1)
    along = (others @ first) / first.square().sum().clamp(min=TINY)
    return torch.cat([deltas[:1], (others - along[:, None] * first).reshape(deltas[1:].shape)])


def most_salient(deltas: Tensor, shares: Tensor) -> Tensor:
    """For each element the delta whose share times salience is largest; zero where no share is positive.

    The salience of a concept is the softmax of |d| / rms(d) over its whole latent (MagicFusion, arXiv
    2303.13126). Dividing by the root mean square makes it independent of the predictions' scale, which
    differs between samplers.
    """
    size = deltas.abs().flatten(1)
    rms = size.square().mean(1, keepdim=True).sqrt().clamp(min=TINY)
    salience = (size / rms).softmax(1).reshape(deltas.shape) * shares
    best, winner = salience.max(0, keepdim=True)
    taken = deltas.gather(0, winner)[0]
    return torch.where(best[0] > 0, taken, torch.zeros_like(taken))


def blended_delta(parts: Tensor, uncond: Tensor, shares: Shares, combination: Combination) -> Tensor:
    """One delta [C, h, w] from the predictions [P, C, h, w] of a picture's rows and its unconditional one."""
    deltas = concept_deltas(parts, uncond, shares.factors, shares.owners, len(shares.weights))
    return combination(deltas, shares.weights, shares.strengths)


def concept_deltas(
    parts: Tensor, uncond: Tensor, factors: Sequence[float], owners: Sequence[int], count: int
) -> Tensor:
    """The deltas [K, C, h, w] of `count` concepts: for each the weighted sum of its rows' deltas.

    `parts` [P, C, h, w] are the predictions of P rows; `factors` are their weights, `owners` their concepts.
    """
    scale = torch.tensor(tuple(factors), dtype=parts.dtype, device=parts.device)[:, None, None, None]
    deltas = parts.new_zeros((count, *parts.shape[1:]))
    return deltas.index_add(0, torch.tensor(tuple(owners), device=parts.device), scale * (parts - uncond))
