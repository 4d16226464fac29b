"""The two networks that read a face's picture for PuLID: a face parser, and a vision encoder."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.ip_adapter.shapes import Tensors, under
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.clip_vision import MEAN, STD
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.names import last_part, listed

from .eva_clip import EvaTower
from .face_parser import FaceParser

ENCODER, PARSER = "EVA02_CLIP_L_336_psz14_s6B", "parsing_bisenet"
SOURCES = {
    ENCODER: "EVA02_CLIP_L_336_psz14_s6B.pt of huggingface.co/QuanSun/EVA-CLIP (0.86 GB)",
    PARSER: "parsing_bisenet.pth of github.com/xinntao/facexlib, release v0.2.0 (53 MB)",
}
# The parts that are painted white: background, ears, earrings, neck, necklace, clothes, hat.
OUTSIDE = (0, 16, 18, 7, 8, 9, 14, 15)
PHOTO_MEAN, PHOTO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The encoder and the face parser, loaded when they are first used. `files` are theirs."""

    store: ModelStore
    placement: Placement
    encoder: Path
    parser: Path

    @classmethod
    def of(cls, store: ModelStore, placement: Placement) -> Towers:
        """Those in the model folders. Raises ModelError that says which file is missing and where it goes."""
        return cls(
            store=store,
            placement=placement,
            encoder=find_file(store, ENCODER),
            parser=find_file(store, PARSER),
        )

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Identifies the files and the precision."""
        return (*stamp(self.encoder), *stamp(self.parser), self.placement)

    def features(self, face: Image.Image) -> tuple[Tensor, ...]:
        """The embedding [1, 768] of length 1, and the feature maps [1, 577, 1024], of an aligned face.

        The face is 512 x 512 pixels, RGB.
        """
        network, weights = self.store.get(self.encoder, self._loader(read_encoder), self.placement)
        pixels = functional.interpolate(
            self.isolated(face), (network.size, network.size), mode="bicubic", antialias=True
        )
        with torch.no_grad(), weights.present():
            embedding, maps = network(normalised(pixels, MEAN, STD).to(weights.like))
        return embedding / embedding.norm(dim=1, keepdim=True), *maps

    def isolated(self, face: Image.Image) -> Tensor:
        """The face alone, in grey on white, [1, 3, 512, 512] in 0..1."""
        network, weights = self.store.get(self.parser, self._loader(read_parser), self.placement)
        pixels = torch.from_numpy(np.array(face, np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad(), weights.present():
            parts = network(normalised(pixels, PHOTO_MEAN, PHOTO_STD).to(weights.like)).cpu()
        outside = torch.isin(parts, torch.tensor(OUTSIDE))[:, None]
        grey = (pixels * torch.tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
        return torch.where(outside, torch.ones_like(pixels), grey.expand_as(pixels))

    def _loader(self, read: Callable[[Path, Placement], Any]) -> Callable[[Path], Any]:
        def load_pulid_tower(path: Path) -> Any:
            return read(path, self.placement)

        return load_pulid_tower


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels [B, 3, H, W] less the mean, divided by the standard deviation of each channel."""
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def read_encoder(path: Path, placement: Placement) -> tuple[EvaTower, Weights]:
    """The vision encoder of an EVA-CLIP file. Raises ModelError."""
    tensors = read_tensors(path)
    own = under(tensors, "visual.") or tensors
    kept = {key: value for key, value in own.items() if "rope." not in key and not key.startswith("text.")}
    return _filled(lambda: EvaTower(kept), kept, path, placement)


def read_parser(path: Path, placement: Placement) -> tuple[FaceParser, Weights]:
    """The face parser of facexlib's file. Raises ModelError."""
    return _filled(FaceParser, read_tensors(path), path, placement)


def _filled(
    build: Callable[[], Any], tensors: Tensors, path: Path, placement: Placement
) -> tuple[Any, Weights]:
    try:
        with torch.device("meta"):
            network: nn.Module = build()
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path.stem}' is not a complete file: {error}") from error
    fill(network, tensors, path.stem, placement.home, placement.dtype)
    return network, placed([network], placement, path.stem)


def find_file(store: ModelStore, wanted: str) -> Path:
    """The file of this name in the model folders, which are searched anew before ModelError is raised."""
    for _ in range(2):
        named = [name for name in store.names() if last_part(name).lower() == wanted.lower()]
        found = {store.files.hash(path): path for path in map(store.resolve, named)}
        if len(found) > 1:
            raise ModelError(f"several files are called {wanted}: {listed(named)}; keep one of them")
        if found:
            return next(iter(found.values()))
        store.refresh()
    where = store.roots[0] if store.roots else "a model folder"
    raise ModelError(f"PuLID needs {SOURCES[wanted]}, and it is not there: put it into {where}")
