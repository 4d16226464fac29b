"""Can the encoder tell the product from other things? If not, neither likeness nor the adapter can."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib_ctrlgen.projects.product.identity import Embedding, Identity, Threshold

from .finding import Finding, finding, unknown

APART = 1.5  # pooled standard deviations between the product's views and other pictures
NAME = "encoder-blind"
ADVICE = (
    "take another CLIP vision encoder (an adapter for CLIP ViT-H instead of ViT-B, or a plus adapter), show "
    "more of what makes the product, or train a LoRA (`ctrlgen train dreambooth`), which needs no encoder"
)


def encoder_findings(
    identity: Identity, threshold: Threshold, others: Sequence[Embedding] = ()
) -> tuple[Finding, ...]:
    """Whether views lie apart from other pictures: `others`, else those made without the adapter."""
    between = [identity.mean(each) for each in others] or list(threshold.without)
    within = list(threshold.real)
    if not within or not between:
        return (unknown("encoder", NAME, "there are no second view and no other pictures to compare with"),)
    gap = float(np.mean(within) - np.mean(between))
    deviation = float(np.sqrt((np.var(within) + np.var(between)) / 2))
    apart = gap / max(0.01, deviation)
    what = "pictures of other things" if len(others) else "pictures made without the adapter"
    text = (
        f"{identity.encoder}: unseen views of the product have a likeness of {np.mean(within):.2f}, {what} "
        f"{np.mean(between):.2f}: {apart:.1f} standard deviations apart (at least {APART})"
    )
    return (finding("encoder", NAME, text, ADVICE, bad=apart < APART),)
