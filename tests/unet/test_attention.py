"""Decoupled cross attention, and masks at the resolution of each layer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib_ctrlgen.unet.attention import AttentionTerm, KeyValue, attend, level_size, token_mask
from lib_ctrlgen.unet.residuals import Residuals, fit_mask, soft_weights, total

HEADS, HIDDEN = 2, 8


def defined(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt d) V for one row, head by head."""
    width = HIDDEN // HEADS
    heads = [tensor.split(width, dim=-1) for tensor in (query, keys, values)]
    return torch.cat(
        [torch.softmax(q @ k.T / width**0.5, -1) @ v for q, k, v in zip(*heads, strict=True)], -1
    )


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_term_is_weighted_attention_with_the_keys_of_the_rows_kind() -> None:
    query = rows(3, 16, HIDDEN)
    pair = KeyValue(rows(2, 5, HIDDEN, seed=1), rows(2, 5, HIDDEN, seed=2))
    got = AttentionTerm(pair, 0.7).output(query, torch.tensor([1, 0, 1]), HEADS, (4, 4))
    for row, kind in enumerate([1, 0, 1]):
        wanted = 0.7 * defined(query[row], pair.keys[kind], pair.values[kind])
        torch.testing.assert_close(got[row], wanted, atol=1e-6, rtol=0)


def test_attention_leaves_its_inputs_and_takes_any_strides() -> None:
    wide = rows(2, 9, 2 * HIDDEN)
    query = wide[..., :HIDDEN]
    keys, values = rows(2, 3, HIDDEN, seed=1), rows(2, 3, HIDDEN, seed=2)
    before = wide.clone()
    got = attend(query, keys, values, HEADS)
    assert torch.equal(wide, before)
    torch.testing.assert_close(got[1], defined(query[1], keys[1], values[1]), atol=1e-6, rtol=0)


def test_a_mask_scales_each_token() -> None:
    query = rows(1, 4, HIDDEN)
    pair = KeyValue(rows(2, 5, HIDDEN, seed=1), rows(2, 5, HIDDEN, seed=2))
    mask = torch.tensor([[1.0, 0.0, 0.5, 0.5], [1.0, 0.0, 0.5, 0.5], [0.0] * 4, [1.0] * 4])[None, None]
    plain, masked = (
        AttentionTerm(pair, 1.0, m).output(query, torch.tensor([1]), HEADS, (4, 4)) for m in (None, mask)
    )
    scale = torch.tensor([0.5, 0.5, 0.5, 0.5])[None, :, None]
    torch.testing.assert_close(masked, plain * scale)


def test_a_term_follows_the_dtype_of_the_query() -> None:
    pair = KeyValue(rows(2, 5, HIDDEN), rows(2, 5, HIDDEN))
    query = rows(1, 4, HIDDEN).to(torch.bfloat16)
    got = AttentionTerm(pair, 1.0, torch.ones(1, 1, 2, 2)).output(query, torch.tensor([0]), HEADS, (2, 2))
    assert got.dtype == torch.bfloat16


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 4))
def test_a_level_is_found_by_its_tokens(height: int, width: int, level: int) -> None:
    halving = nn.Conv2d(1, 1, 3, stride=2, padding=1)  # what the U-Nets downsample with
    size = (height, width)
    for _ in range(level):
        size = tuple((side + 2 - 3) // 2 + 1 for side in size)
    assert halving.stride == (2, 2)
    assert level_size(size[0] * size[1], (height, width)) == size


def test_no_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="no level of a 8 x 8 latent has 15 tokens"):
        level_size(15, (8, 8))


def test_a_mask_is_averaged_by_area() -> None:
    mask = rows(1, 1, 8, 12).abs()
    wanted = nn.functional.avg_pool2d(mask, 4).reshape(1, 6, 1)
    torch.testing.assert_close(token_mask(mask, 6, (8, 12)), wanted)
    layer = torch.zeros(2, 5, 2, 3, dtype=torch.bfloat16)
    torch.testing.assert_close(fit_mask(mask, layer), wanted.reshape(1, 1, 2, 3).to(torch.bfloat16))


def residuals(seed: int) -> Residuals:
    return Residuals(
        (rows(2, 3, 4, 4, seed=seed), rows(2, 3, 2, 2, seed=seed + 1)), rows(2, 5, 2, 2, seed=seed + 2)
    )


def test_residuals_are_scaled_masked_scattered_and_added() -> None:
    first, second = residuals(1), residuals(5)
    originals = [layer.clone() for layer in first.layers]
    scaled = first.scaled([1.0, 2.0, -0.5])
    for got, raw, weight in zip(scaled.layers, originals, (1.0, 2.0, -0.5), strict=True):
        torch.testing.assert_close(got, raw * weight)
    spread = first.scatter([2, 0], 4)
    assert torch.equal(spread.mid[[2, 0]], first.mid)
    assert not spread.mid[[1, 3]].any()
    summed = total([first, second, first])
    torch.testing.assert_close(summed.mid, 2 * first.mid + second.mid)
    half = first.masked(torch.full((1, 1, 8, 8), 0.5))
    torch.testing.assert_close(half.down[1], 0.5 * first.down[1])
    assert all(torch.equal(a, b) for a, b in zip(first.layers, originals, strict=True))


def test_soft_weights_count_from_the_mid_block() -> None:
    sd, xl = soft_weights(13), soft_weights(10)
    assert (sd[-1], xl[-1]) == (1.0, 1.0)
    assert sd[0] == pytest.approx(0.825**12)
    assert sd[3:] == xl
