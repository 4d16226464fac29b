"""Measures edges, colours, shapes and textures of pictures with numpy and OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

PALETTE: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (214, 38, 38),
        "orange": (244, 140, 28),
        "yellow": (246, 222, 58),
        "green": (44, 160, 64),
        "blue": (44, 84, 214),
        "purple": (142, 52, 178),
        "white": (238, 238, 238),
        "black": (28, 28, 28),
    }
)
GRADIENTS = (100, 200)  # canny's thresholds


@dataclass(frozen=True, kw_only=True)
class FoundShape:
    """A shape that differs from the background in colour; `area` is its share of the picture."""

    kind: str
    colour: str
    area: float


@dataclass(frozen=True, kw_only=True)
class FoundScene:
    """The shapes of a picture from large to small, and the background's colour."""

    shapes: tuple[FoundShape, ...]
    background: str


def edges(picture: Image) -> Image:
    """Canny edges [H, W] of a picture [H, W, 3], 0 or 255."""
    return np.asarray(cv2.Canny(picture, *GRADIENTS), np.uint8)


def edge_f1(picture: Image, edge_map: Image, tolerance: int = 2) -> float:
    """F1 of a picture's edges against an edge map [H, W], matches within `tolerance` pixels."""
    return map_f1(edges(picture), edge_map, tolerance)


def map_f1(found_map: Image, edge_map: Image, tolerance: int = 2) -> float:
    """F1 of two edge maps [H, W], matches within `tolerance` pixels."""
    found, wanted = found_map > 127, edge_map > 127
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = float((_distance(wanted)[found] <= tolerance).mean())
    recall = float((_distance(found)[wanted] <= tolerance).mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _distance(mask: NDArray[np.bool_]) -> Field:
    """Distance of every pixel to the nearest set pixel."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def colour_names(picture: Image) -> NDArray[np.intp]:
    """The index into PALETTE of every pixel's nearest colour, by hue more than by brightness."""
    values = _opponent(picture)
    palette = _opponent(np.array([list(PALETTE.values())], np.uint8))[0]
    distance = np.linalg.norm(values[..., None, :] - palette, axis=-1)
    return np.asarray(np.argmin(distance, -1), np.intp)


def _opponent(picture: Image) -> Field:
    """CIE Lab [H, W, 3] with lightness at half its weight."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab * np.array([0.5, 1, 1], np.float32), np.float32)


def find_scene(picture: Image, smallest: float = 0.015) -> FoundScene:
    """Find the background's colour, and the kind and colour of the shapes on it.

    Shapes that cover less than the share `smallest` of the picture are left out.
    """
    smooth = cv2.medianBlur(picture, 5)
    labels = colour_names(np.asarray(smooth, np.uint8))
    names = list(PALETTE)
    background = _border_colour(labels)
    shapes = [
        FoundShape(kind=shape_kind(mask), colour=names[index], area=float(mask.mean()))
        for index in range(len(names))
        if index != background
        for mask in _patches(labels == index, smallest)
    ]
    ordered = sorted(shapes, key=lambda shape: -shape.area)
    return FoundScene(shapes=tuple(ordered), background=names[background])


def find_shapes(picture: Image) -> list[tuple[str, str]]:
    """(colour, kind) of the shapes in a picture, large ones first."""
    return [(shape.colour, shape.kind) for shape in find_scene(picture).shapes]


def _border_colour(labels: NDArray[np.intp]) -> int:
    """The most frequent colour along the picture's border."""
    sides = (labels[:4], labels[-4:], labels[:, :4], labels[:, -4:])
    rim = np.concatenate([side.ravel() for side in sides])
    return int(np.bincount(rim).argmax())


def _patches(mask: NDArray[np.bool_], smallest: float) -> list[NDArray[np.bool_]]:
    """Connected areas of at least the share `smallest` of the picture, without thin borders."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(opened)
    patches = [labels == index for index in range(1, count)]
    return [patch for patch in patches if patch.mean() >= smallest]


def shape_kind(mask: NDArray[np.bool_]) -> str:
    """The kind of a shape (circle, square, triangle, star, cross or ring) from its mask [H, W].

    A ring has a hole. Of the other kinds, the one whose outline overlaps best with the mask is chosen, over
    all rotations, at the centre and area of the mask.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outer = max(contours, key=cv2.contourArea)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, [outer], -1, 1, -1)
    if mask.sum() < 0.88 * filled.sum():
        return "ring"
    return max(TEMPLATES, key=lambda kind: _overlap(filled > 0, kind))


def _overlap(mask: NDArray[np.bool_], kind: str) -> float:
    """Best intersection over union of a mask with a template of the same area, over 24 rotations."""
    rows, columns = np.nonzero(mask)
    centre = np.array([columns.mean(), rows.mean()])
    template = TEMPLATES[kind]
    scale = float(np.sqrt(mask.sum() / cv2.contourArea(template.astype(np.float32))))
    return max(
        _iou(mask, centre + scale * template @ _turn(angle))
        for angle in np.linspace(0, 2 * np.pi / FOLDS[kind], 12, endpoint=False)
    )


def _turn(angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _iou(mask: NDArray[np.bool_], loop: NDArray[np.float64]) -> float:
    drawn = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(loop * 16).astype(np.int32)], (1,), shift=4)
    inside = drawn > 0
    return float((mask & inside).sum() / max((mask | inside).sum(), 1))


def _star_like(count: int, radii: Sequence[float]) -> NDArray[np.float64]:
    """`count` points around their centre of area, with the radii used in turn."""
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.resize(np.array(radii), count)[:, None]


def _cross() -> NDArray[np.float64]:
    corner = np.array([[0.34, -1.0], [0.34, -0.34], [1.0, -0.34]])
    turns = [corner @ _turn(k * np.pi / 2) for k in range(4)]
    return np.concatenate(turns)


TEMPLATES: Mapping[str, NDArray[np.float64]] = MappingProxyType(
    {
        "circle": _star_like(48, (1.0,)),
        "square": _star_like(4, (1.0,)),
        "triangle": _star_like(3, (1.0,)),
        "star": _star_like(10, (1.0, 0.42)),
        "cross": _cross(),
    }
)
FOLDS: Mapping[str, int] = MappingProxyType({"circle": 48, "square": 4, "triangle": 3, "star": 5, "cross": 4})


def prompt_accuracy(picture: Image, wanted: Sequence[tuple[str, str]], background: str) -> float:
    """The share of the wanted shapes (colour, kind) and the background's colour that a picture has, 0..1."""
    found = find_scene(picture)
    left = [(shape.colour, shape.kind) for shape in found.shapes]
    hits = [float(found.background == background)]
    for pair in wanted:
        hits.append(float(pair in left))
        if pair in left:
            left.remove(pair)
    return float(np.mean(hits))


def placement(picture: Image, layout: Image) -> float:
    """How near the centre of a picture's shapes is to that of a layout, 0..1.

    It is 1 if both centres are equal, and 0 if they are an eighth of the short side apart or more, or if one
    of the pictures shows only its background.
    """
    centres = [_centre(each) for each in (picture, layout)]
    if centres[0] is None or centres[1] is None:
        return 0.0
    distance = float(np.linalg.norm(centres[0] - centres[1]))
    return max(0.0, 1 - 8 * distance / int(min(layout.shape[:2])))


def _centre(picture: Image) -> NDArray[np.float64] | None:
    """The centre (row, column) of all pixels without the border's colour; None if there are hardly any."""
    labels = colour_names(np.asarray(cv2.medianBlur(picture, 5), np.uint8))
    standing = labels != _border_colour(labels)
    if standing.mean() < 0.01:
        return None
    return np.array([places.mean() for places in np.nonzero(standing)])


def palette_of(picture: Image) -> Field:
    """The share of a picture that each colour of PALETTE covers, [8]; the sum is 1."""
    labels = colour_names(np.asarray(cv2.medianBlur(picture, 5), np.uint8))
    counts = np.bincount(labels.ravel(), minlength=len(PALETTE)).astype(np.float32)
    return np.asarray(counts / counts.sum(), np.float32)


def colour_likeness(picture: Image, reference: Image) -> float:
    """How similar the shares of colours of two pictures are: 1 for equal shares, 0 for no common colour."""
    return float(np.minimum(palette_of(picture), palette_of(reference)).sum())


def texture_likeness(picture: Image, reference: Image) -> float:
    """Cosine similarity, 0..1, of the backgrounds' textures, by direction and wavelength."""
    ours, theirs = _texture_of(picture), _texture_of(reference)
    scale = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / max(scale, 1e-9)


def _texture_of(picture: Image) -> Field:
    """Strength of brightness waves by wavelength and direction [18], away from outlines."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    calm = _distance(edges(picture) > 0) > 4
    flat = np.where(calm, grey, float(np.median(grey)))
    flat = flat - cv2.GaussianBlur(flat, (0, 0), 8)
    energies = [_energy(flat, calm, angle, wave) for wave in (5, 10, 18) for angle in range(0, 180, 30)]
    return np.asarray(np.sqrt(np.array(energies) + 0.5), np.float32)


def _energy(flat: Field, calm: NDArray[np.bool_], angle: int, wave: int) -> float:
    kernel = cv2.getGaborKernel((25, 25), 0.45 * wave, np.deg2rad(angle), wave, 1.0, 0)
    kernel -= kernel.mean()
    answer = cv2.filter2D(flat, cv2.CV_32F, kernel / np.abs(kernel).sum())
    return float((answer[calm] ** 2).mean()) if calm.any() else 0.0
