"""Are the pictures of the product good enough to learn it from? Each question with its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.backdrop import Mask, border_of, lab_of
from lib_ctrlgen.projects.product.views import ProductViews

from .finding import Finding, finding, unknown

ENOUGH = 8  # views
SAME = 0.97  # correlation of two thumbnails from which they show the same view
COPY = 0.998  # and from which they are the same picture, encoded again
THUMBNAIL = 24  # pixels
SMALL, LARGE = 0.06, 0.9  # shares of a picture that a product covers
BLUR = 0.012  # variance of the Laplacian as a share of the grey levels' variance
WORKING = 256  # pixels of the longer side at which blur is measured
ONE_BACKGROUND = 8.0  # distance of the backgrounds' mean colours in Lab
MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """What is measured of a view: a thumbnail, the border's mean colour in Lab, sharpness, covered share."""

    name: str
    size: tuple[int, int]
    thumbnail: NDArray[np.float32]
    border: NDArray[np.float32]
    sharpness: float
    share: float | None


def data_findings(views: ProductViews, side: int) -> tuple[Finding, ...]:
    """The answers for the usable views of a product; `side` is that of the generated pictures."""
    seen = [looked(view.source.path.name, *view.read()) for view in views.views]
    masked = any(each.share is not None for each in seen)
    return (
        few_views(seen),
        *alike(seen),
        one_background(seen, masked=masked),
        product_size(seen),
        small_pictures(seen, side),
        blurred(seen),
        copies([each.reason for each in views.refused if "same picture" in each.reason]),
    )


def looked(name: str, picture: Image.Image, mask: Mask | None) -> Looked:
    """Measure a view."""
    lab = lab_of(picture)
    small = np.asarray(picture.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    return Looked(
        name=name,
        size=picture.size,
        thumbnail=small,
        border=np.asarray(border_of(lab).mean(0)),
        sharpness=sharpness(picture),
        share=None if mask is None else float(mask.mean()),
    )


def sharpness(picture: Image.Image) -> float:
    """The variance of the Laplacian as a share of the variance of the grey levels, 0 for one colour."""
    grey = picture.convert("L")
    grey.thumbnail((WORKING, WORKING), Image.Resampling.LANCZOS)
    levels = np.asarray(grey, np.float32)
    return float(cv2.Laplacian(levels, cv2.CV_32F).var() / max(1.0, float(levels.var())))


def few_views(seen: Sequence[Looked]) -> Finding:
    """Answer whether there are enough views."""
    advice = "take 10 to 20 pictures: other sides, sizes, places, and light"
    return finding(
        "data", "few-views", f"{len(seen)} views (at least {ENOUGH})", advice, bad=len(seen) < ENOUGH
    )


def alike(seen: Sequence[Looked]) -> Iterator[Finding]:
    """Answer whether the views differ: the correlation of each view's thumbnail with the one most like it."""
    if len(seen) < 2:
        yield unknown("data", "same-view", "one view cannot be compared with another")
        return
    table = np.corrcoef([each.thumbnail.ravel() + _noise(each) for each in seen])
    np.fill_diagonal(table, -1)
    most = table.max(1)
    median = float(np.median(most))
    text = f"the median view's correlation with the one most like it is {median:.2f} (below {SAME})"
    advice = "turn and move the product between pictures: views from one place teach the photograph"
    yield finding("data", "same-view", text, advice, bad=median >= SAME)
    twins = [each.name for each, like in zip(seen, most, strict=True) if like >= COPY]
    advice = f"remove copies: {_names(twins)}"
    yield finding(
        "data", "near-copies", f"{len(twins)} views are nearly the same picture", advice, bad=len(twins) > 0
    )


def _noise(each: Looked) -> NDArray[np.float32]:
    """Keeps the correlation of a thumbnail of one colour defined."""
    rows = np.random.default_rng(len(each.name)).normal(0, 1e-3, each.thumbnail.size)
    return rows.astype(np.float32)


def one_background(seen: Sequence[Looked], *, masked: bool) -> Finding:
    """Answer whether the backgrounds differ, or the product is known without them."""
    spread = float(np.linalg.norm(np.std([each.border for each in seen], axis=0)))
    text = f"the backgrounds' colours are {spread:.0f} apart in CIE Lab (at least {ONE_BACKGROUND:g})"
    text += ", and masks keep them out" if masked else ", and there are no masks"
    advice = "photograph it before other backgrounds, or give masks: else the background is learned, too"
    return finding("data", "one-background", text, advice, bad=spread < ONE_BACKGROUND and not masked)


def product_size(seen: Sequence[Looked]) -> Finding:
    """Answer whether the product is large enough in its pictures."""
    shares = [each.share for each in seen if each.share is not None]
    if not shares:
        return unknown("data", "product-size", "it is not known where the product is: give masks")
    middle = float(np.median(shares))
    text = f"the product covers {middle:.0%} of the median view ({SMALL:.0%} to {LARGE:.0%})"
    advice = "go nearer, or crop the pictures" if middle < SMALL else "leave some room around the product"
    return finding("data", "product-size", text, advice, bad=not SMALL <= middle <= LARGE)


def small_pictures(seen: Sequence[Looked], side: int) -> Finding:
    """Answer whether the pictures have as many pixels as what is generated."""
    small = [each.name for each in seen if min(each.size) < side]
    least = min(min(each.size) for each in seen)
    text = f"{len(small)} pictures have fewer than {side} pixels on a side (the smallest {least})"
    advice = f"use the original files: {_names(small)}"
    return finding("data", "small-pictures", text, advice, bad=2 * len(small) > len(seen))


def blurred(seen: Sequence[Looked]) -> Finding:
    """Answer whether the pictures are sharp."""
    soft = [each.name for each in seen if each.sharpness < BLUR]
    middle = float(np.median([each.sharpness for each in seen]))
    text = f"{len(soft)} views are blurred; the median view's sharpness is {middle:.3f} (at least {BLUR})"
    return finding("data", "blur", text, f"replace {_names(soft)}", bad=4 * len(soft) > len(seen))


def copies(reasons: Sequence[str]) -> Finding:
    """Answer whether files were there twice."""
    text = f"{len(reasons)} files are copies of others, and were left out"
    return finding("data", "duplicates", text, "remove them; they teach nothing", bad=bool(reasons))


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (
        f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    )
