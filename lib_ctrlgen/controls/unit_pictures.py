"""Decodes the pictures and masks of a unit, and refuses those that can only be a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.control_pictures import ControlPicture, decode_control_picture
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.images.masks import ALL_BLACK, is_black
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.preprocessors import PreprocessorChain, chain_of
from lib_ctrlgen.preprocessors.openpose_json import MIN_CONFIDENCE
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.per_picture import PictureInputs
from lib_ctrlgen.request.reference import Reference
from lib_ctrlgen.request.spec import ControlUnit

from .base import DecodedReference

SHALLOW = 0.1  # of the range 0..1; a deep picture that uses less was perhaps not scaled


@dataclass(frozen=True, kw_only=True)
class UnitPictures:
    """A unit's picture (or pose) and mask for some pictures of the batch, and the JSON paths of both."""

    picture: ControlPicture | None
    mask: Image.Image | None
    image_at: str
    mask_at: str


def unit_pictures(
    unit: ControlUnit, parts: Sequence[PictureInputs], path: str, notices: Notices
) -> list[UnitPictures]:
    """Decode the pictures and masks of a unit. Raises RequestError at the one that is wrong."""
    found = [_decoded(unit, part, path, notices) for part in parts]
    _check_masks(unit, found, path, notices)
    return found


def _decoded(unit: ControlUnit, part: PictureInputs, path: str, notices: Notices) -> UnitPictures:
    image_at, mask_at = _place(unit.images, "image", part, path), _place(unit.masks, "mask", part, path)
    picture = _picture(unit, part.image, image_at, notices) if part.image else None
    mask = decode_image(part.mask, mask_at, notices) if part.mask else None
    return UnitPictures(picture=picture, mask=mask, image_at=image_at, mask_at=mask_at)


def _picture(unit: ControlUnit, image: str, path: str, notices: Notices) -> ControlPicture:
    picture = decode_control_picture(image, path, notices)
    chain = chain_of(unit.preprocessor)
    chain.require_readable(picture, path)
    if isinstance(picture, Pose):
        _note_confidence(picture, chain, unit, path, notices)
        return picture
    require_visible(picture, path)
    if min(picture.size) == 1 and chain.detects:
        size = f"{picture.width} x {picture.height}"
        raise RequestError(path, f"has {size} pixels: too small for {chain.label!r}")
    _note_range(picture, path, notices)
    return picture


def decoded_references(unit: ControlUnit, path: str) -> tuple[DecodedReference, ...]:
    """A unit's further references. Raises RequestError at the picture that is wrong."""
    return tuple(
        DecodedReference(spec=each, path=place, picture=_reference(each, f"{place}.image"))
        for number, each in enumerate(unit.references)
        for place in (f"{path}.references[{number}]",)
    )


def _reference(reference: Reference, path: str) -> Image.Image | None:
    if not reference.image:
        return None
    picture = decode_image(reference.image, path)
    require_visible(picture, path)
    return to_rgb(picture)


def _check_masks(unit: ControlUnit, found: Sequence[UnitPictures], path: str, notices: Notices) -> None:
    """Raise RequestError if every mask is black everywhere; warn if only some are."""
    if unit.mask_strength.bounds[0] < 1:
        return
    black = [each.mask_at for each in found if each.mask is not None and is_black(each.mask)]
    if black and len(black) == len(found):
        raise RequestError(f"{path}.masks" if unit.masks else f"{path}.mask", ALL_BLACK)
    for place in black:
        notices.add(place, "is black everywhere: the unit does nothing in the pictures with this mask")


def _note_confidence(
    pose: Pose, chain: PreprocessorChain, unit: ControlUnit, place: str, notices: Notices
) -> None:
    """Say how many keypoints of a pose are not drawn because of their confidence."""
    least = chain.values(unit.params)[0].get(MIN_CONFIDENCE.name)
    every = list(pose.keypoints)
    below = [point for point in every if isinstance(least, float) and point.confidence < least]
    if below:
        counted = f"{len(below)} of {len(every)} keypoints have a confidence below {least:g}"
        notices.add(place, f"{counted} ({MIN_CONFIDENCE.name}) and are not drawn")


def _note_range(picture: Image.Image, place: str, notices: Notices) -> None:
    """Warn of a deep picture that uses less than `SHALLOW` of the range."""
    if picture.mode != "F":
        return
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if high - low < SHALLOW:
        used = f"uses only {low:.2g}..{high:.2g} of the range 0..1 (of 16 bits, 65535 is white)"
        notices.add(place, f"{used}: scale its values if the network is to see it")


def _place(many: Sequence[str], name: str, part: PictureInputs, path: str) -> str:
    """The JSON path of a picture or mask, which may be an entry of a list."""
    return f"{path}.{name}s[{part.place}]" if many else f"{path}.{name}"
