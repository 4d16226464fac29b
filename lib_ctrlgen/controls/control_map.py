"""Computes a unit's control map at any size: the picture is fitted to the size, then preprocessed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.images.control_pictures import pose_hash
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.resize import resample_grey
from lib_ctrlgen.models.loading import RGB
from lib_ctrlgen.models.store import CachedValues
from lib_ctrlgen.preprocessors import Detection, PreprocessorChain, chain_of
from lib_ctrlgen.preprocessors.chain import Values, map_key
from lib_ctrlgen.preprocessors.disk_maps import kept_on_disk

from .base import Target, UnitInputs
from .controlnet_map import exact_map_at, map_at
from .holes import has_border, holes_at


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlMap:
    """The control maps of one unit. Each is cached in the model store, so that later generations reuse it.

    job, chain, values  the unit's inputs, its preprocessors and their parameters
    kept     the cache
    holes    whether the picture has holes; the network gets the value `hole` there
    picture  the hash of the picture, or of the pose, and its holes
    """

    job: UnitInputs
    chain: PreprocessorChain
    values: Values
    kept: CachedValues
    hole: float
    holes: bool
    picture: str

    @staticmethod
    def of(job: UnitInputs, target: Target, hole: float, *, holes: bool) -> ControlMap:
        """The control maps of a unit. `holes` says whether transparent pixels are holes."""
        named = chain_of(job.unit.preprocessor, f"{job.path}.preprocessor")
        chain = named.with_store(target.store).on(target.device).offloaded(target.away)
        holes = holes and (job.transparent is not None or has_border(job))
        transparent = job.transparent if holes else None
        marks = [image_hash(job.deep or job.picture)] if job.pose is None else [pose_hash(job.pose)]
        marks += [image_hash(transparent)] if transparent is not None else []
        return ControlMap(
            job=job,
            chain=chain,
            values=chain.values(job.unit.params),
            kept=CachedValues(target.store),
            hole=hole,
            holes=holes,
            picture="+".join(marks),
        )

    def pixels(self, width: int, height: int, channels: int = RGB) -> Tensor:
        """The map as the network's input [1, C, H, W] in 0..1, with `hole` in holes; C is 3 (RGB) or 1.

        Without a preprocessor, a grey picture of more than eight bits keeps its precision.
        """
        deep = self.deep(width, height)
        if self.job.unit.semantics is not None and self.chain.marks_holes:
            exact = torch.from_numpy(exact_map_at(self.job, width, height)) / 255.0
            pixels = exact.permute(2, 0, 1)[None, :channels]
        elif deep is not None:
            pixels = deep.expand(-1, channels, -1, -1)
        else:
            shown = self.shown(width, height)
            pixels = to_hint(shown if channels == RGB else shown.convert("L"))[:, :channels]
        if not self.holes:
            return pixels
        holes = to_hint(holes_at(self.job, width, height))[:, :channels]
        return torch.where(holes > 0.5, self.hole, pixels)

    def deep(self, width: int, height: int) -> Tensor | None:
        """A map of more than eight bits at a size, [1, 1, H, W] in 0..1; None for a map of eight bits."""
        if self.job.deep is None or not self.chain.is_none or self.job.unit.semantics is not None:
            return None
        values = self.job.frame.pixels(np.asarray(self.job.deep), width, height, resample_grey)
        return torch.from_numpy(np.array(values))[None, None]

    def shown(self, width: int, height: int) -> Image.Image:
        """The map as an RGB picture: the unit's picture fitted to the size and preprocessed, black in holes.

        Raises RequestError if the preprocessor cannot run.
        """

        def computed() -> Detection:
            with at_path(f"{self.job.path}.preprocessor"):
                found = self.found(width, height)
            if not self.holes:
                return found
            visible = ImageChops.invert(holes_at(self.job, width, height))
            return replace(found, map=ImageChops.multiply(found.map, visible))

        key = self.key(width, height)
        pictures = [self.job.pose or self.job.deep or self.job.picture]
        pictures += [self.job.transparent] if self.holes and self.job.transparent is not None else []

        def found() -> Detection:
            return kept_on_disk(self.kept.store, self.chain, key, pictures, computed)

        return self.kept(key, found).map

    def found(self, width: int, height: int) -> Detection:
        """The map at a size, and the pose in it, without holes. Raises RequestError."""
        job = self.job
        if job.unit.semantics is not None and job.pose is None:
            return Detection(map_at(job, self.chain, self.values, width, height))
        return self.chain.found(job.pose or job.picture, job.frame, (width, height), self.values)

    def key(self, width: int, height: int) -> tuple[Hashable, ...]:
        """The cache key of the map at a size: everything that its pixels depend on."""
        own, chain = self.job.picture.size, self.chain.key(self.values)
        key = map_key(self.picture, own, chain, self.job.frame, (width, height))
        return key if self.job.unit.semantics is None else (*key, self.job.unit.semantics.resolution)
