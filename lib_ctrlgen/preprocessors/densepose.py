"""Parts of bodies by DensePose (Güler, Neverova and Kokkinos 2018), in colours.

The network is a TorchScript program. It returns boxes [N, 4] (left, top, right, bottom in pixels), the scores
of person and background [N, 2, h, w] in them, those of 24 parts of a body and the background [N, 25, h, w],
and coordinates on the body's surface, which are not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weights import find_weights

from .base import Comparison
from .network import LoadingPreprocessor, Pixels, found_once
from .packages import imported

WEIGHTS = "densepose_r50_fpn_dl.torchscript"
PARTS = 24
BOX = 4


@dataclass(frozen=True, kw_only=True)
class PublishedProgram:
    """A TorchScript program; `weights` is its name in the table of published files."""

    weights: str

    def load(self, store: ModelStore | None, device: torch.device) -> nn.Module:
        """The program on a device, from the store's cache. Raises ModelError for any other file."""
        path = found_once(store, self.weights, find_weights)
        imported("torchvision", needed_by=self.weights)  # registers the operator nms

        def load_program(path: Path) -> nn.Module:
            try:
                program: nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
                return program.eval()
            except RuntimeError as error:
                raise ModelError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from error

        return load_program(path) if store is None else store.get(path, load_program, device)


class DensePose(LoadingPreprocessor):
    """The parts of bodies in the colours of viridis, whose first one, purple, is the background."""

    name: ClassVar[str] = "densepose"
    title: ClassVar[str] = "Parts of bodies on purple, DensePose (densepose)"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedProgram] = PublishedProgram(weights=WEIGHTS)
    colours: ClassVar[int] = cv2.COLORMAP_VIRIDIS
    black: ClassVar[bool] = False

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the parts of all bodies in an RGB picture. Raises ModelError."""
        del params
        pixels = pixels_of(image)
        given = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(self.device)
        with self.loaded(self.network) as (network,):
            try:
                outputs = network(given)
            except RuntimeError as error:
                raise ModelError(f"{WEIGHTS} failed: {' '.join(str(error).split())[-160:]}") from error
        parts = labels(*checked(outputs), image.size)
        return Image.fromarray(self.table()[parts])

    def table(self) -> Pixels:
        """The colours [25, 3] of the background and the 24 parts."""
        levels = (np.arange(PARTS + 1) * 255 / PARTS).astype(np.uint8)
        found = np.array(cv2.applyColorMap(levels[:, None], self.colours)[:, 0, ::-1], np.uint8)
        if self.black:
            found[0] = 0
        return found

    def offloaded(self, away: bool) -> DensePose:
        """This preprocessor: the weights of a program cannot be moved between uses."""
        del away
        return self

    def weight_files(self) -> tuple[Path, ...]:
        """The file that its network is read from. Raises ModelError for any file but the published one."""
        return self.found(self.network.weights)


class DensePoseParula(DensePose):
    """The parts of bodies in the colours of parula, on black."""

    name: ClassVar[str] = "densepose_parula"
    title: ClassVar[str] = "Parts of bodies on black, DensePose (densepose_parula)"
    colours: ClassVar[int] = cv2.COLORMAP_PARULA
    black: ClassVar[bool] = True


def checked(outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes, coarse scores and fine scores of the network's outputs. Raises ModelError for others."""
    found = tuple(outputs) if isinstance(outputs, Sequence) else ()
    shapes = [tuple(each.shape) for each in found if isinstance(each, Tensor)]
    widths = [shape[1] if len(shape) > 1 else 0 for shape in shapes[:3]]
    if len(shapes) < 3 or widths[0] != BOX or widths[1] < 2 or widths[2] != PARTS + 1:
        raise ModelError(f"{WEIGHTS} is not DensePose with {PARTS} parts: its outputs are {shapes}")
    boxes, coarse, fine = found[:3]
    return boxes, coarse, fine


def labels(boxes: Tensor, coarse: Tensor, fine: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The part of a body [H, W] at each pixel of a picture of `size` (width, height); 0 is the background.

    Where bodies overlap, the last box counts.
    """
    width, height = size
    found = np.zeros((height, width), np.uint8)
    for number, box in enumerate(boxes.cpu().double()):
        left, top = int(box[0]), int(box[1])
        across, down = (max(1, int(end - start)) for start, end in zip(box[:2], box[2:], strict=True))
        body, part = (
            functional.interpolate(each[number][None].float(), (down, across), mode="bilinear").argmax(1)[0]
            for each in (coarse, fine)
        )
        own = (part * (body > 0)).cpu().numpy().astype(np.uint8)
        above, before = max(0, -top), max(0, -left)
        inside = found[max(0, top) : max(0, top + down), max(0, left) : max(0, left + across)]
        own = own[above : above + inside.shape[0], before : before + inside.shape[1]]
        np.copyto(inside, own, where=own > 0)
    return found
