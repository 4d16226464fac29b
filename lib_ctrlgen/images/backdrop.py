"""Finds a subject before a backdrop: the one colour of the paper, wall or screen behind it."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.errors import RequestError

from .resize import smooth, soft

Mask: TypeAlias = NDArray[np.bool_]
Pixels: TypeAlias = NDArray[np.float32]
AUTO = "auto"  # the backdrop that is found from each picture's border
PLAIN = 10.0  # the most that the colours of a plain background's border vary, in Lab (standard deviation)
APART = 18.0  # how far the subject's colours are from a backdrop's at least, in Lab
BORDER = 0.04  # the share of a side that counts as border
LEAST, MOST = 0.01, 0.95  # the shares of a picture that a subject covers
ON_BORDER = 0.5  # the share of the border that has a given backdrop's colour at least
SPECK = 0.001  # parts with a smaller share of the picture are dust on the backdrop
WORKING = 1024  # pixels of the longer side at which a subject is searched


def subject_before(picture: Image.Image, backdrop: str, path: str) -> Pixels:
    """Where the subject is in an RGB picture, [H, W] in 0..1, before `auto` or a colour as #rrggbb.

    What has the backdrop's colour but is enclosed by the subject belongs to the subject. Raises RequestError
    at `path` if the backdrop is not around the border, or if the subject would be nearly nothing or all.
    """
    factor = min(1.0, WORKING / max(picture.size))
    size = [max(1, round(side * factor)) for side in picture.size]
    lab = lab_of(Image.fromarray(smooth(np.asarray(picture), size[0], size[1])))
    colour = _found(lab, path) if backdrop == AUTO else _required(lab, backdrop, path)
    mask = _without_specks(_not_around(differs(lab, colour)))
    share = float(mask.mean())
    if not LEAST <= share <= MOST:
        raise RequestError(
            path,
            f"the subject before the backdrop {backdrop} would be {share:.1%} of it ({LEAST:.0%} to "
            f"{MOST:.0%} are expected): give it a mask, or remove it",
        )
    return soft(mask.astype(np.float32), *picture.size)


def _found(lab: Pixels, path: str) -> Pixels:
    colour = plain_colour(lab)
    if colour is None:
        raise RequestError(
            path,
            "its border has several colours, so it has no backdrop: name its colour, or give it a mask",
        )
    return colour


def _required(lab: Pixels, backdrop: str, path: str) -> Pixels:
    """The colour in Lab of a backdrop as #rrggbb. Raises RequestError if it is not around the picture."""
    colour: Pixels = lab_of(Image.new("RGB", (1, 1), backdrop))[0, 0]
    border = border_of(lab)
    share = float((np.linalg.norm(border - colour, axis=1) <= APART).mean())
    if share < ON_BORDER:
        raise RequestError(
            path,
            f"its border does not have the backdrop {backdrop} ({share:.0%} of it does; most of it is about "
            f"{_named(np.median(border, axis=0))}): correct the colour, or give it a mask",
        )
    return colour


def _named(lab: Pixels) -> str:
    """A colour in Lab as #rrggbb."""
    rgb = np.asarray(cv2.cvtColor(np.asarray(lab, np.float32)[None, None], cv2.COLOR_LAB2RGB)[0, 0])
    return "#" + bytes(np.clip(rgb * 255, 0, 255).round().astype(np.uint8)).hex()


def _not_around(apart: Mask) -> Mask:
    """All but the parts without difference that reach the border of the picture."""
    _, labels = cv2.connectedComponents((~apart).astype(np.uint8))
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.asarray((labels == 0) | ~np.isin(labels, rim))


def _without_specks(mask: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= SPECK * mask.size)
    return np.asarray(mask & np.isin(labels, large))


def on_plain_background(picture: Image.Image) -> Mask | None:
    """The largest part that differs from a background of one colour.

    None if the border has several colours, or nothing differs.
    """
    lab = lab_of(picture)
    colour = plain_colour(lab)
    if colour is None:
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(differs(lab, colour).astype(np.uint8))
    if len(stats) < 2:
        return None
    largest = np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
    return largest if LEAST <= float(largest.mean()) <= MOST else None


def plain_colour(lab: Pixels) -> Pixels | None:
    """The colour in Lab around a picture [H, W, 3]; None if its border has several."""
    border = border_of(lab)
    middle = np.median(border, axis=0)
    varied = float(np.linalg.norm(border - middle, axis=1).std())
    return None if varied > PLAIN else np.asarray(middle, np.float32)


def differs(lab: Pixels, colour: Pixels) -> Mask:
    """Where a picture [H, W, 3] in Lab differs from a colour; small gaps are closed."""
    apart = (np.linalg.norm(lab - colour, axis=2) > APART).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(apart, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)


def lab_of(picture: Image.Image) -> Pixels:
    """The pixels [H, W, 3] of an RGB picture in CIE Lab."""
    pixels = np.asarray(picture, np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), np.float32)


def border_of(pixels: Pixels) -> Pixels:
    """The pixels [N, C] at the border of a picture [H, W, C]."""
    height, width = pixels.shape[:2]
    wide = max(1, round(BORDER * min(height, width)))
    inner = np.ones((height, width), bool)
    inner[wide:-wide, wide:-wide] = False
    return np.asarray(pixels[inner])
