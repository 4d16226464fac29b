"""The formulas of blends, each compared with a second way of computing it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_ctrlgen.blending.formulas import (
    Combination,
    concept_deltas,
    mixed_features,
    mixed_latents,
    mixed_noises,
    slerp,
    slerp_many,
)
from lib_ctrlgen.blending.trajectory import Trajectory

CLOSE = {"atol": 1e-6, "rtol": 1e-6}
shares = st.lists(st.floats(0.01, 3), min_size=3, max_size=3)
seeds = st.integers(0, 2**31)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds, st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_prediction_is_the_sum_over_concepts_and_places(seed: int, weights: list[float]) -> None:
    deltas, masks = randn(3, 4, 5, 6, seed=seed), randn(3, 1, 5, 6, seed=seed + 1).sigmoid()
    wanted = torch.zeros(4, 5, 6, dtype=torch.float64)
    for k in range(3):
        wanted += weights[k] * masks[k] * deltas[k]
    torch.testing.assert_close(Combination(mode="prediction", masks=masks)(deltas, weights), wanted, **CLOSE)


@given(seeds, shares)
def test_normalised_shares_sum_to_one_where_any_is_left(seed: int, weights: list[float]) -> None:
    masks = (randn(3, 1, 5, 6, seed=seed) > 0).double()
    ones = torch.ones(3, 4, 5, 6, dtype=torch.float64)
    found = Combination(mode="prediction", normalise=True, masks=masks)(ones, weights)
    torch.testing.assert_close(found, (masks.sum(0) > 0).double().expand(4, -1, -1), **CLOSE)


@given(seeds, st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_perpendicular_adds_nothing_along_the_first(seed: int, weights: list[float]) -> None:
    deltas = randn(3, 4, 5, 6, seed=seed)
    found = Combination(mode="perpendicular")(deltas, weights)
    first = deltas[0].flatten()
    unit = first / first.norm()
    assert float(found.flatten() @ unit) == pytest.approx(weights[0] * float(first.norm()), abs=1e-6)
    rest = sum(
        w * (d.flatten() - unit * (unit @ d.flatten())) for w, d in zip(weights[1:], deltas[1:], strict=True)
    )
    torch.testing.assert_close(found.flatten(), weights[0] * first + rest, **CLOSE)


@given(seeds, shares, st.floats(0.01, 100))
def test_saliency_takes_the_winner_whatever_the_scale(seed: int, weights: list[float], scale: float) -> None:
    deltas = randn(3, 4, 5, 6, seed=seed)
    found = Combination(mode="saliency")(deltas, weights)
    strength = []
    for k in range(3):
        size = deltas[k].abs()
        exp = (size / size.square().mean().sqrt()).exp()
        strength.append(weights[k] * exp / exp.sum())
    winner = torch.stack(strength).argmax(0)
    wanted = sum(torch.where(winner == k, deltas[k], 0.0) for k in range(3))
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(Combination(mode="saliency")(deltas * scale, weights), wanted * scale, **CLOSE)


def test_saliency_leaves_what_no_concept_claims() -> None:
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    masks[0, :, :2] = 1
    found = Combination(mode="saliency", masks=masks)(randn(2, 4, 4, 4), (1, 1))
    assert torch.equal(found[:, 2:], torch.zeros(4, 2, 4, dtype=torch.float64))
    assert torch.equal(found[:, :2], randn(2, 4, 4, 4)[0, :, :2])


@given(seeds, st.floats(0, 1))
def test_slerp_turns_evenly(seed: int, fraction: float) -> None:
    first, last = (v / v.norm() for v in (randn(24, seed=seed), randn(24, seed=seed + 1)))
    found = slerp(first[None], last[None], fraction)[0]
    whole = math.acos(float(first @ last))
    assert float(found.norm()) == pytest.approx(1, abs=1e-6)
    assert math.acos(min(1, float(first @ found))) == pytest.approx(fraction * whole, abs=1e-6)
    torch.testing.assert_close(slerp(last[None], first[None], 1 - fraction)[0], found, **CLOSE)


def test_slerp_goes_straight_where_there_is_nothing_to_turn_around() -> None:
    first = randn(3, 8)
    for last in (first * 2, -first, torch.zeros_like(first)):
        found = slerp(first, last, torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
        wanted = torch.stack([torch.lerp(a, b, f) for a, b, f in zip(first, last, (0, 0.25, 1), strict=True)])
        torch.testing.assert_close(found, wanted, **CLOSE)


def test_slerps_of_several_by_weight() -> None:
    vectors = [randn(2, 16, seed=k) for k in range(3)]
    for k in range(3):
        alone = torch.zeros(2, 3, dtype=torch.float64)
        alone[:, k] = 0.4
        torch.testing.assert_close(slerp_many(vectors, alone), vectors[k], **CLOSE)
    two = torch.tensor([[1.0, 3.0]], dtype=torch.float64).expand(2, -1)
    torch.testing.assert_close(slerp_many(vectors[:2], two), slerp(vectors[0], vectors[1], 0.75), **CLOSE)


@given(seeds, shares)
def test_features_mix_around_the_empty_prompt(seed: int, weights: list[float]) -> None:
    features, empty = [randn(2, 7, 8, seed=seed + k) for k in range(3)], randn(1, 7, 8, seed=seed + 9)
    rows = torch.tensor([weights, weights[::-1]], dtype=torch.float64)
    straight = mixed_features(features, empty, rows, spherical=False)
    for row in range(2):
        wanted = empty[0] + sum(float(rows[row, k]) * (features[k][row] - empty[0]) for k in range(3))
        torch.testing.assert_close(straight[row], wanted, **CLOSE)
    turned = mixed_features(features, empty, rows, spherical=True)
    token = slerp_many([(f - empty)[1, 3][None] for f in features], rows[1:])[0] * rows[1].sum()
    torch.testing.assert_close(turned[1, 3], empty[0, 3] + token, **CLOSE)


@given(seeds, shares)
def test_mixed_noise_is_noise(seed: int, weights: list[float]) -> None:
    noises = [randn(2, 4, 64, 64, seed=seed + k) for k in range(3)]
    parts = torch.tensor(weights, dtype=torch.float64)
    for spherical in (False, True):
        assert float(mixed_noises(noises, parts, spherical=spherical).std()) == pytest.approx(1, abs=0.03)
    wanted = sum(w * n for w, n in zip(weights, noises, strict=True)) / math.sqrt(sum(w * w for w in weights))
    torch.testing.assert_close(mixed_noises(noises, parts, spherical=False), wanted, **CLOSE)
    mean = sum(w * n for w, n in zip(weights, noises, strict=True)) / sum(weights)
    torch.testing.assert_close(mixed_latents(noises, parts, spherical=False), mean, **CLOSE)


def test_masks_place_noises_and_latents() -> None:
    noises = [randn(2, 4, 8, 8, seed=k) for k in range(2)]
    masks = torch.zeros(2, 1, 1, 8, 8, dtype=torch.float64)
    masks[0, ..., :3], masks[1, ..., 3:6] = 1, 0.5
    for mix in (mixed_noises, mixed_latents):
        found = mix(noises, masks, spherical=True)
        for columns, source in ((slice(0, 3), 0), (slice(3, 6), 1), (slice(6, 8), 0)):
            torch.testing.assert_close(found[..., columns], noises[source][..., columns], **CLOSE)


def test_parts_are_gathered_to_concepts() -> None:
    parts, uncond = randn(3, 4, 5, 6), randn(4, 5, 6, seed=7)
    found = concept_deltas(parts, uncond, (1.0, 2.0, -0.5), (0, 1, 1), 2)
    torch.testing.assert_close(found[0], parts[0] - uncond, **CLOSE)
    wanted = 2 * (parts[1] - uncond) - 0.5 * (parts[2] - uncond)
    torch.testing.assert_close(found[1], wanted, **CLOSE)


@pytest.mark.parametrize(("pictures", "stops"), [(5, 2), (7, 3), (3, 2)])
def test_a_trajectory_keeps_its_ends(pictures: int, stops: int) -> None:
    steps = Trajectory(pictures=pictures, concepts=stops)
    latents = randn(pictures, 4, 6, 6)
    each = (pictures - 1) // (stops - 1)
    for power in (0.0, 0.3, 1.0):
        found = steps.crossfed(latents, power)
        assert torch.equal(found[::each], latents[::each])
    whole, some = steps.crossfed(latents, 1.0), steps.crossfed(latents, 0.3)
    mix = slerp(latents[0][None], latents[each][None], 1 / each)
    torch.testing.assert_close(whole[1:2], mix, **CLOSE)
    torch.testing.assert_close(some[1:2], slerp(latents[1:2], mix, 0.3), **CLOSE)
    assert torch.equal(steps.crossfed(latents, 0.0), latents)


@given(seeds, st.sampled_from([(5, 2), (7, 3), (9, 2)]))
def test_pictures_move_to_where_the_row_changes(seed: int, shape: tuple[int, int]) -> None:
    """On a row whose pictures lie on a curve of place, neighbours differ alike after enough rounds."""
    pictures, stops = shape
    steps = Trajectory(pictures=pictures, concepts=stops)
    bend = 1 + seed % 4

    def made(steps: Trajectory) -> Tensor:
        along = torch.tensor(steps.places, dtype=torch.float64) * (stops - 1)
        return (along.floor() + (along - along.floor()) ** bend)[:, None]

    for _ in range(12):
        steps = steps.respaced(made(steps))
    gaps = made(steps).diff(dim=0).flatten()
    assert float(gaps.max() - gaps.min()) < 0.05
    each = (pictures - 1) // (stops - 1)
    assert steps.places[::each] == pytest.approx([k / (stops - 1) for k in range(stops)])
    assert list(steps.places) == sorted(steps.places)


def test_a_row_that_does_not_change_stays_even() -> None:
    steps = Trajectory(pictures=5, concepts=2)
    assert steps.respaced(torch.zeros(5, 4, 2, 2)).places == pytest.approx(steps.places)
