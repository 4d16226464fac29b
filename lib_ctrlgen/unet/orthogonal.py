"""How PuLID adds its attention: without what it has in common with the text's.

Guo et al. 2024, PuLID: Pure and Lightning ID Customization via Contrastive Alignment; the formulas are those
of its code (pulid/attention_processor.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

NEUTRAL, ORTHO, ORTHO_V2 = "neutral", "ortho", "ortho_v2"
IDENTITY_TOKENS = 5  # the first tokens of PuLID


def orthogonal(term: Tensor, text: Tensor, query: Tensor, keys: Tensor, heads: int, form: str) -> Tensor:
    """Return an attention term [B, N, hidden] without its projection on the text's attention `text`.

    The projection is taken for each channel over the image tokens N, in float32. With `ortho_v2` a share of
    it stays: the attention that a query pays to the first five of the term's tokens.
    query: [B, N, hidden]; keys: [B, T, hidden] of the term.
    """
    if form == NEUTRAL:
        return term
    wide, h = term.float(), text.float()
    whole = (h * h).sum(dim=-2, keepdim=True)
    common = (h * wide).sum(dim=-2, keepdim=True) / torch.where(whole == 0, 1.0, whole) * h
    share = identity_share(query, keys, heads) if form == ORTHO_V2 else 0.0
    return (wide + (share - 1.0) * common).to(term)


def identity_share(query: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Return the attention of each query to the first five tokens, [B, N, 1]: the mean over the heads.

    As in PuLID's code, the logits are not divided by the root of the head's width.
    """
    batch, length, hidden = query.shape
    q = query.view(batch, length, heads, hidden // heads).transpose(1, 2)
    k = keys.view(batch, -1, heads, hidden // heads).permute(0, 2, 3, 1)
    found = (q.float() @ k.float()).softmax(dim=-1).mean(dim=1)
    return found[..., :IDENTITY_TOKENS].sum(dim=-1, keepdim=True)
