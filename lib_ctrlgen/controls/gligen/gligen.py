"""GLIGEN: boxes with phrases, through gated self-attention between a U-Net's self and cross attention.

Li et al. 2023, GLIGEN: Open-Set Grounded Text-to-Image Generation. In each transformer block:
x += w tanh(a) attention(x over x and objects); x += w tanh(b) feed_forward(x), with the unit's weight w.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs, require_picture_unit
from lib_ctrlgen.controls.params import ENCODED, IMAGE_ENCODER
from lib_ctrlgen.errors import ModelError, RequestError, at_path
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.kind import ModelKind, Shapes
from lib_ctrlgen.request.box import MOST_BOXES, Box
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.family import require_family
from lib_ctrlgen.unet.row_factors import Factor, times

from .detect import gligen_kind
from .features import PictureEncoder, phrase_feature, picture_encoder, picture_feature
from .file import GligenWeights, load_gligen

ADVICE = ": give it a schedule, such as the weight '1 in 0..0.3'"


@dataclass(frozen=True, kw_only=True)
class Gligen:
    """A loaded file: the position net, and a gated block for each transformer block."""

    name: ClassVar[str] = "gligen"
    title: ClassVar[str] = "GLIGEN"
    params: ClassVar[tuple[Param, ...]] = ENCODED

    weights: GligenWeights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a GLIGEN file, None for other files. Raises ModelError for a broken one."""
        return gligen_kind(shapes)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> Gligen:
        """Load a GLIGEN for a U-Net, or take it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)
        heads, placement = target.shape.heads, target.placement

        def load_gligen_file(path: Path) -> GligenWeights:
            return load_gligen(path, placement, heads, kind.variant)

        weights = target.store.get(path, load_gligen_file, placement, heads)
        widths = [int(fuser.linear.out_features) for fuser in weights.fusers]
        if widths != list(target.shape.attention_hidden):
            raise ModelError(
                f"'{path.stem}' has gated blocks of widths {_listed(widths)}, the loaded checkpoint has "
                f"transformer blocks of {_listed(target.shape.attention_hidden)}"
            )
        return cls(weights=weights)

    @property
    def layers(self) -> int:
        """The transformer blocks, in checkpoint order: down, up, mid (16 on SD1.5)."""
        return len(self.weights.fusers)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedGligen:
        """Encode the boxes. Raises RequestError at the unit's fields."""
        require_picture_unit(job, "GLIGEN", "ControlNets", ADVICE)
        _require_boxes(job)
        encoder = self._picture_encoder(job, target)
        cells = [
            self._encoded(box, f"{job.path}.boxes[{place}]", encoder, target)
            for place, box in enumerate(job.unit.boxes)
        ]
        return PreparedGligen(
            weights=self.weights,
            objects=objects_of(self.weights, cells).to(target.placement.like),
            loaded={} if encoder is None else {IMAGE_ENCODER.name: encoder.folder.label(target.store)},
        )

    def _picture_encoder(self, job: UnitInputs, target: Target) -> PictureEncoder | None:
        """The encoder for the boxes' pictures; None where no box has one."""
        place = next((place for place, box in enumerate(job.unit.boxes) if box.image), None)
        if place is None:
            return None
        if not self.weights.images:
            raise RequestError(
                f"{job.path}.boxes[{place}].image",
                "this GLIGEN file is for text boxes: leave the picture out, or take a text-image file",
            )
        name = str(job.params[IMAGE_ENCODER.name])
        with at_path(f"{job.path}.params.{IMAGE_ENCODER.name}" if name else f"{job.path}.model"):
            return picture_encoder(target, self.weights.feature, name)

    def _encoded(self, box: Box, path: str, encoder: PictureEncoder | None, target: Target) -> EncodedBox:
        """A box with its features. Raises RequestError at `path` and a field of the box."""
        phrase = picture = None
        if box.text:
            with at_path(f"{path}.text"):
                phrase = phrase_feature(box.text, self.weights.feature, target)
        if box.image and encoder is not None:
            picture = picture_feature(decode_image(box.image, f"{path}.image"), encoder, target)
        return EncodedBox(corners=box.box, phrase=phrase, picture=picture)


@dataclass(frozen=True, kw_only=True)
class EncodedBox:
    """A box [x0, y0, x1, y1] in 0..1, with the features [H] that it has."""

    corners: Sequence[float]
    phrase: Tensor | None
    picture: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedGligen:
    """One unit of a generation: its objects [2, T, X]: row 0 for uncond, row 1 for cond.

    T is 30, or 60 (phrases, then pictures) of a text-image file. `loaded` names the picture encoder.
    """

    weights: GligenWeights
    objects: Tensor
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """One weight for each transformer block."""
        return len(self.weights.fusers)

    def present(self) -> AbstractContextManager[None]:
        """The gated blocks have their weights inside."""
        return self.weights.weights.present()

    def objects_at(self, place: int) -> Tensor:
        """The objects after a block's linear layer and norm, [2, T, C]."""
        fuser = self.weights.fusers[place]
        with torch.no_grad():
            found: Tensor = fuser.norm1(fuser.linear(self.objects))
        return found

    def gated(self, place: int, x: Tensor, objects: Tensor, weight: Factor) -> Tensor:
        """Both gated terms, [B, N, C].

        The published block attends with the objects as queries too, and drops those rows; the norm treats
        each token alone. So only image tokens are queries here, and the objects' norm is computed once.
        """
        fuser = self.weights.fusers[place]
        x = x.to(self.weights.weights.like)
        seen = fuser.norm1(x)
        attended = fuser.attn(seen, encoder_hidden_states=torch.cat((seen, objects.to(seen)), 1))
        change = times(fuser.alpha_attn.tanh() * attended, weight)
        return change + times(fuser.alpha_dense.tanh() * fuser.ff(fuser.norm2(x + change)), weight)


def objects_of(weights: GligenWeights, boxes: Sequence[EncodedBox]) -> Tensor:
    """The position net's objects [2, T, X] in float32: all null in row 0, the boxes in row 1.

    Places without a box, and a box without a phrase or a picture, have the file's null features.
    """
    corners = torch.zeros(2, MOST_BOXES, 4)
    used = torch.zeros(2, MOST_BOXES)
    features = torch.zeros(2, 2, MOST_BOXES, weights.feature)  # phrases, pictures
    given = torch.zeros(2, 2, MOST_BOXES)
    for place, box in enumerate(boxes):
        corners[1, place], used[1, place] = torch.tensor(box.corners), 1
        for kind, feature in enumerate((box.phrase, box.picture)):
            if feature is not None:
                features[kind, 1, place], given[kind, 1, place] = feature, 1
    home = weights.position.null_position_feature.device
    (phrases, pictures), (with_phrase, with_picture) = features.to(home), given.to(home)
    inputs = (
        {
            "phrases_embeddings": phrases,
            "phrases_masks": with_phrase,
            "image_embeddings": pictures,
            "image_masks": with_picture,
        }
        if weights.images
        else {"positive_embeddings": phrases}
    )
    with torch.no_grad():
        objects: Tensor = weights.position(corners.to(home), used.to(home), **inputs)
    return objects


def _require_boxes(job: UnitInputs) -> None:
    """Raise RequestError for a unit without boxes, or with a picture, which nothing would read."""
    if not job.unit.boxes:
        raise RequestError(f"{job.path}.boxes", "is empty: GLIGEN needs boxes, each with a phrase")
    if job.given is not None:
        field = "images" if job.unit.images else "image_from" if job.unit.image_from != "request" else "image"
        message = "GLIGEN takes no picture of the unit: leave it out, or give a box a picture"
        raise RequestError(f"{job.path}.{field}", message)


def _listed(widths: Sequence[int]) -> str:
    return "-".join(map(str, dict.fromkeys(widths))) or "none"
