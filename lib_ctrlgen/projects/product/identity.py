"""How like the product a picture is, and from which likeness on it is the product.

The measure is the tuner's: the cosine of CLIP embeddings. What is compared is the product's part of a
picture, so that the environment counts as little as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.backdrop import Mask
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.tuner.scoring.clip_likeness import Likeness, embedding, encoder_for, no_encoder
from lib_ctrlgen.tuner.scoring.scores import cosine

from .placement import MARGIN
from .silhouette import box_of
from .views import ProductView, ProductViews

Embedding: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]
LEAST_GAP = 0.02  # between real views and pictures without the adapter, so that a threshold means something


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The likeness below which a picture has lost the product.

    value     None if the measure cannot tell
    real      the likeness of real views that the comparison does not contain
    without   the likeness of pictures made without the adapter
    reason    how it was found, in sentences
    """

    value: float | None
    real: tuple[float, ...]
    without: tuple[float, ...]
    reason: str

    def lost(self, likeness: float) -> bool:
        """Whether a picture of this likeness has lost the product."""
        return self.value is not None and likeness < self.value


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity:
    """Compares pictures with the views of a product.

    known     embeddings of the views that pictures are compared with
    held_out  embeddings of the views that they are not compared with
    """

    likeness: Likeness
    known: tuple[Embedding, ...]
    held_out: tuple[Embedding, ...]

    @classmethod
    def of(cls, store: ModelStore, views: ProductViews, text_width: int) -> Identity:
        """The measure for a product in pictures of a checkpoint whose text features are so wide.

        Raises RequestError if no CLIP vision encoder can tell them apart.
        """
        likeness = Likeness(store, encoder_for(store, text_width))
        if likeness.encoder is None:
            raise RequestError(
                "--models",
                f"likeness cannot be measured: {no_encoder(store)}; name a folder that has a CLIP vision "
                "encoder, or download one with `ctrlgen models get`",
            )
        known, held = (
            tuple(embedding(view_part(view), likeness.encoder, store) for view in part)
            for part in (views.training, views.held_out)
        )
        return cls(likeness=likeness, known=known, held_out=held)

    @property
    def encoder(self) -> str:
        """The encoder's name and hash."""
        return self.likeness.label

    def embedding(self, picture: Image.Image, box: Box | None = None) -> Embedding:
        """The embedding of the product's part of a picture."""
        assert self.likeness.encoder is not None
        return embedding(part_of(picture, box), self.likeness.encoder, self.likeness.store)

    def of_picture(self, picture: Image.Image, box: Box | None = None) -> float:
        """The mean cosine of a picture and the known views, -1..1."""
        return self.mean(self.embedding(picture, box))

    def mean(self, found: Embedding) -> float:
        """The mean cosine of an embedding and those of the known views, -1..1."""
        return float(np.mean([cosine(found, each) for each in self.known]))

    def real(self) -> tuple[float, ...]:
        """The likeness of held-out views; without any, of each view to the others (none for one view)."""
        if self.held_out:
            return tuple(self.mean(each) for each in self.held_out)
        pairs = range(len(self.known))
        return tuple(
            float(np.mean([cosine(self.known[one], self.known[other]) for other in pairs if other != one]))
            for one in pairs
            if len(self.known) > 1
        )

    def threshold(self, without: Sequence[float]) -> Threshold:
        """The threshold: halfway between the least likely real view and the mean without the adapter."""
        real = self.real()
        if not real or not without:
            reason = "There is no second view to compare with, so no picture is flagged: add views."
            return Threshold(value=None, real=real, without=tuple(without), reason=reason)
        low, base = min(real), float(np.mean(without))
        if low - base < LEAST_GAP:
            reason = (
                f"The encoder {self.encoder} cannot tell the product: a real view has {low:.2f}, pictures "
                f"without the adapter {base:.2f} on average. No picture is flagged; see the diagnosis."
            )
            return Threshold(value=None, real=real, without=tuple(without), reason=reason)
        value = (low + base) / 2
        what = "views that the training did not see" if self.held_out else "views, each left out in turn,"
        reason = (
            f"Real {what} have a likeness of at least {low:.2f}; pictures of the same prompts without the "
            f"adapter have {base:.2f} on average. A picture below {value:.2f}, halfway between, is flagged."
        )
        return Threshold(value=value, real=real, without=tuple(without), reason=reason)


def view_part(view: ProductView) -> Image.Image:
    """The product's part of a view."""
    picture, mask = view.read()
    return part_of(picture, None if mask is None else with_margin(mask))


def with_margin(mask: Mask) -> Box:
    """The box of a mask with a margin, inside the picture."""
    left, top, right, bottom = box_of(mask)
    margin = round(MARGIN * max(right - left, bottom - top))
    height, width = mask.shape
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(width, right + margin),
        min(height, bottom + margin),
    )


def part_of(picture: Image.Image, box: Box | None) -> Image.Image:
    """The part of a picture in a box, RGB."""
    return picture.convert("RGB") if box is None else picture.convert("RGB").crop(box)
