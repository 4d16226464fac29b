"""Joins keypoints to people by part affinity fields.

Cao, Simon, Wei and Sheikh 2017, Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lib_ctrlgen.images.poses import drawing

from .heat_maps import HeatMaps

Places: TypeAlias = NDArray[np.float64]  # [N, 3]: x, y and the confidence of keypoints of one kind
Fields: TypeAlias = NDArray[np.float32]

# Pairs of joints, counted from 1: those that are drawn, and from the shoulders to the ears.
LIMBS = (*drawing.LIMBS, (3, 17), (6, 18))
# Of the network's fields, the first of each limb's two: x, and behind it y.
FIELDS = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
BEGIN = 17  # limbs; the further ones only join or extend people
SAMPLES, LEAST_FIELD, LEAST_SHARE = 10, 0.05, 0.8
LEAST_JOINTS, LEAST_MEAN = 4, 0.4


@dataclass(eq=False)
class Group:
    """Joints of one person: for each joint the number of its place; the sum of scores, and their count."""

    joints: dict[int, int] = field(default_factory=dict)
    score: float = 0.0
    count: int = 0

    def add(self, joint: int, place: int, score: float) -> None:
        """Add a joint with the score of its limb and its own confidence."""
        self.joints[joint] = place
        self.score += score
        self.count += 1

    def join(self, other: Group, score: float) -> None:
        """Add the joints of another group, by a limb of this score."""
        self.joints |= other.joints
        self.score += other.score + score
        self.count += other.count

    @property
    def is_person(self) -> bool:
        """Whether the group has enough joints, and these are certain enough."""
        return self.count >= LEAST_JOINTS and self.score / self.count >= LEAST_MEAN


def people(places: Sequence[Places], fields: HeatMaps, size: tuple[int, int]) -> list[Mapping[int, int]]:
    """The people: for each of their joints, the row of its place in `places[joint]`.

    `places` are the candidates of the 18 joints in a picture of `size` (width, height), `fields` are
    the network's 38 part affinity fields.
    """
    groups: list[Group] = []
    for number, ((first, second), x) in enumerate(zip(LIMBS, FIELDS, strict=True)):
        one, other = first - 1, second - 1
        if not len(places[one]) or not len(places[other]):
            continue
        affinity = np.stack((fields.at(x, size), fields.at(x + 1, size)), axis=2)
        for begin, end, score in connections(places[one], places[other], affinity):
            holders = [
                each for each in groups if each.joints.get(one) == begin or each.joints.get(other) == end
            ]
            total = score + float(places[other][end, 2])
            if not holders and number < BEGIN:
                start = {one: begin, other: end}
                groups.append(Group(start, total + float(places[one][begin, 2]), len(start)))
            elif len(holders) == 1:
                if holders[0].joints.get(other) != end:
                    holders[0].add(other, end, total)
            elif holders and holders[0].joints.keys().isdisjoint(holders[1].joints):
                holders[0].join(holders[1], score)
                groups.remove(holders[1])
            elif holders:
                holders[0].add(other, end, total)
    return [each.joints for each in groups if each.is_person]


def connections(begins: Places, ends: Places, affinity: Fields) -> Iterator[tuple[int, int, float]]:
    """The limbs between places [N, 3] and [M, 3], the best first: two rows, and the score.

    The score is the mean of the field [H, W, 2] along the limb's direction at ten points of it, less what the
    limb is too long: longer than half of the picture's height.
    """
    scores, fit = _scored(begins[:, None, :2], ends[None, :, :2], affinity)
    pairs = np.argwhere(fit & (scores > 0))
    order = np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")
    taken: tuple[set[int], set[int]] = (set(), set())
    for begin, end in pairs[order].tolist():
        if begin not in taken[0] and end not in taken[1]:
            taken[0].add(begin)
            taken[1].add(end)
            yield begin, end, float(scores[begin, end])


def _scored(begins: Places, ends: Places, affinity: Fields) -> tuple[Places, NDArray[np.bool_]]:
    """The score of each pair [N, M], and whether the field has its direction at most points of it."""
    along = ends - begins
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 0.001)
    shares = np.linspace(0, 1, SAMPLES)[:, None, None, None]
    spots = np.rint(begins + shares * along).astype(int)  # [samples, N, M, 2]
    values = affinity[spots[..., 1], spots[..., 0]].astype(np.float64)
    aligned = (values * (along / length[..., None])).sum(-1)
    too_long = np.minimum(0.5 * affinity.shape[0] / length - 1, 0)
    fit = (aligned > LEAST_FIELD).sum(0) > LEAST_SHARE * SAMPLES
    return aligned.mean(0) + too_long, fit
