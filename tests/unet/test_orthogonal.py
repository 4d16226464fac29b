"""PuLID's attention against the formulas of its code, written with plain matrix products."""

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.unet.attention import AttentionTerm, KeyValue
from lib_ctrlgen.unet.orthogonal import NEUTRAL, ORTHO, ORTHO_V2

HEADS, WIDTH, KINDS = 2, 16, torch.tensor([1, 0, 1])


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def official(form: str, weight: float, text: Tensor, query: Tensor, pair: KeyValue) -> Tensor:
    """What is added to the text's attention, row by row and head by head."""
    rows = []
    for row, kind in enumerate(KINDS.tolist()):
        q, k, v, h = query[row], pair.keys[kind], pair.values[kind], text[row]
        parts = [slice(i * WIDTH // HEADS, (i + 1) * WIDTH // HEADS) for i in range(HEADS)]
        scale = (WIDTH // HEADS) ** -0.5
        mixed = torch.cat([(q[:, p] @ k[:, p].T * scale).softmax(-1) @ v[:, p] for p in parts], -1)
        projection = (h * mixed).sum(0) / (h * h).sum(0) * h
        share = torch.stack([(q[:, p] @ k[:, p].T).softmax(-1) for p in parts]).mean(0)[:, :5].sum(-1)
        added = {
            NEUTRAL: mixed,
            ORTHO: mixed - projection,
            ORTHO_V2: mixed + (share[:, None] - 1) * projection,
        }
        rows.append(weight * added[form])
    return torch.stack(rows)


@pytest.mark.parametrize("form", [NEUTRAL, ORTHO, ORTHO_V2])
def test_what_is_added_is_the_official_term(form: str) -> None:
    pair = KeyValue(noise(2, 9, WIDTH, seed=1), noise(2, 9, WIDTH, seed=2))
    query, text = noise(3, 4, WIDTH, seed=3), noise(3, 4, WIDTH, seed=4)
    term = AttentionTerm(pair, 0.7, form=form)
    found = term.output(query, KINDS, HEADS, (2, 2), text)
    wanted = official(form, 0.7, text, query, pair)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    if form == ORTHO:
        assert float((found * text).sum(1).abs().max()) <= 1e-4, "nothing in common with the text's"


def test_a_channel_without_text_attention_has_no_projection() -> None:
    pair = KeyValue(noise(2, 9, WIDTH, seed=1), noise(2, 9, WIDTH, seed=2))
    query, text = noise(3, 4, WIDTH, seed=3), torch.zeros(3, 4, WIDTH)
    plain = AttentionTerm(pair, 1.0).output(query, KINDS, HEADS, (2, 2))
    assert torch.equal(AttentionTerm(pair, 1.0, form=ORTHO).output(query, KINDS, HEADS, (2, 2), text), plain)
