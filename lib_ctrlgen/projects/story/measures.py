"""What is measured of a story's pictures: kept controls, one character on a sheet, and rows of blends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.tuner.scoring.clip_likeness import embedding
from lib_ctrlgen.tuner.scoring.scores import cosine

SLACK = 1.0  # in CIE Lab: how far a distance may move against a row's direction; less can hardly be seen
DIGITS = 4

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of blended pictures. Distances are means over all pixels in CIE Lab: all pictures have one seed.

    shares          of the second concept, 0..1
    first, second   the distance of each picture to the row's first one, and to its last one
    likenesses      cosines of CLIP embeddings with the first and the last one; empty without an encoder
    """

    shares: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    likenesses: tuple[tuple[float, ...], ...] = ()

    @property
    def is_monotone(self) -> bool:
        """Whether the pictures only move away from the first one and towards the last one."""
        return _rises(self.first) and _rises(self.second[::-1])


def _rises(values: Sequence[float]) -> bool:
    return all(after >= before - SLACK for before, after in pairwise(values))


def measured(host: EngineHost, picture: Image.Image, request: GenerationRequest) -> dict[str, Any]:
    """The scores of a picture as JSON types, and its CLIP embedding (empty without an encoder)."""
    scores = host.scores(picture, None, request)
    values = {name: round(float(value), DIGITS) for name, value in scores.values.items()}
    encoder = host.likeness.encoder
    found = [] if encoder is None else embedding(picture, encoder, host.engine.store).tolist()
    return {
        "scores": values,
        "reasons": dict(scores.reasons),
        "embedding": [round(value, 5) for value in found],
    }


def consistency(records: Sequence[Mapping[str, Any]]) -> float | None:
    """How alike pictures are: the mean cosine of the CLIP embeddings of all pairs; None without a pair."""
    found = [vector(record) for record in records if record["embedding"]]
    pairs = [cosine(one, other) for one, other in combinations(found, 2)]
    return round(fmean(pairs), DIGITS) if pairs else None


def row_of(records: Sequence[Mapping[str, Any]], pictures: Sequence[Pixels]) -> Row:
    """The distances and likenesses of a row of pictures in their order; `pictures` are RGB, [H, W, 3]."""
    found = [vector(record) for record in records if record["embedding"]]
    ends = (found[0], found[-1]) if len(found) == len(records) else ()
    colours = [cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in pictures]
    first, second = (
        tuple(round(float(np.linalg.norm(each - end, axis=-1).mean()), 2) for each in colours)
        for end in (colours[0], colours[-1])
    )
    return Row(
        shares=tuple(round(float(record["share"]), DIGITS) for record in records),
        first=first,
        second=second,
        likenesses=tuple(tuple(round(cosine(each, end), DIGITS) for each in found) for end in ends),
    )


def adherences(records: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean adherence of all controls whose maps can be compared; None if there is none."""
    found = [
        value for each in records for name, value in each["scores"].items() if name.startswith("adherence")
    ]
    return round(fmean(found), DIGITS) if found else None


def vector(record: Mapping[str, Any]) -> NDArray[np.float32]:
    """The embedding in a record."""
    return np.asarray(record["embedding"], np.float32)
