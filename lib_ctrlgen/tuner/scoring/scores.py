"""Scores of one picture, and how adherence and over-control are measured.

A score that cannot be measured is left out, and the reason is given in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.preprocessors.standalone import cached_detection
from lib_ctrlgen.request.spec import ControlUnit

from .map_likeness import COMPARISONS, is_blank

Pixels = NDArray[np.uint8]

BLANK = "the unit's control map is blank (one grey level everywhere), so no picture can follow it"

CLIPPED = (2, 253)  # a pixel is clipped if each channel is <= the first or >= the second


@dataclass(frozen=True)
class Scores:
    """Scores by name, and the reason for each score that could not be measured."""

    values: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Scores) -> Scores:
        return Scores({**self.values, **other.values}, {**self.reasons, **other.reasons})


def adherence(
    picture: Image.Image,
    unit: ControlUnit,
    index: int,
    store: ModelStore | None = None,
    device: str = "cpu",
    *,
    away: bool = False,
) -> Scores:
    """How well a picture follows a unit's control map, 0..1; the score is named `adherence.INDEX`.

    The unit's preprocessors run on the generated picture and on the unit's, and both maps are compared. A
    unit whose map is blank has no adherence: every picture without features would follow it perfectly.
    `store` is where a preprocessor's networks are loaded from, `device` where they run; with `away`, their
    weights are in the CPU's memory between uses.
    """
    name = f"adherence.{index}"
    chain = chain_of(unit.preprocessor, f"$.units[{index}].preprocessor")
    stored = chain if store is None else chain.with_store(store)
    compared = stored.on(device).offloaded(away).compared(unit.params)
    if compared is None:
        reason = f"the preprocessor {unit.preprocessor_label!r} detects nothing in the generated picture"
        return Scores({}, {name: reason})
    source = decode_control_picture(unit.image, f"$.units[{index}].image")
    frame = Frame(unit.resize_mode)
    found = compared.chain.found(picture, frame, picture.size, compared.values).map
    if store is None:
        wanted = compared.chain.found(source, frame, picture.size, compared.values).map
    else:  # the same for all pictures
        wanted = cached_detection(store, compared.chain, compared.values, source, frame, picture.size).map
    if is_blank(wanted):
        return Scores({}, {name: BLANK})
    return Scores({name: COMPARISONS[compared.how](found, wanted)})


def over_control(picture: Image.Image, uncontrolled: Image.Image) -> Scores:
    """How much a picture is overdone compared with the uncontrolled picture of the same seed, 0 and up.

    The sum of the increases in three measures: the share of clipped pixels, the mean saturation (0..1), and
    half the logarithm to base two of fine detail (mean absolute Laplacian).
    """
    controlled, without = _looks(picture), _looks(uncontrolled)
    grown = [max(0.0, a - b) for a, b in zip(controlled[:2], without[:2], strict=True)]
    detail = max(0.0, 0.5 * float(np.log2((controlled[2] + 1) / (without[2] + 1))))
    return Scores({"over_control": sum(grown) + detail})


def _looks(picture: Image.Image) -> tuple[float, float, float]:
    """Share of clipped pixels, mean saturation, mean absolute Laplacian in grey levels."""
    pixels: Pixels = np.asarray(picture.convert("RGB"))
    clipped = ((pixels <= CLIPPED[0]) | (pixels >= CLIPPED[1])).all(-1).mean()
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 1].mean() / 255
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(clipped), float(saturation), float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def cosine(first: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Cosine of two vectors, -1..1; 0 where one is zero."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(other))
    return float(first @ other) / scale if scale else 0.0


def summary(pictures: Sequence[Scores]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of each score over a cell's pictures."""
    names = list(dict.fromkeys(name for each in pictures for name in each.values))
    found = {name: [each.values[name] for each in pictures if name in each.values] for name in names}
    means = {name: round(float(np.mean(values)), 4) for name, values in found.items()}
    return means, {name: round(float(np.std(values)), 4) for name, values in found.items()}
