"""A unit's picture as a control map at any size; what is made of it is kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lib_ctrlgen.images import fit, image_hash
from lib_ctrlgen.preprocessors import Preprocessor, preprocessor
from lib_ctrlgen.store import ModelStore

from .base import Job, Target


@dataclass(frozen=True, kw_only=True, eq=False)
class PicturedUnit:
    """One unit of a generation that sees a control map."""

    job: Job
    preprocessor: Preprocessor
    values: Mapping[str, Any]
    store: ModelStore
    picture: str  # the picture's hash
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    def control_map(self, width: int, height: int) -> Image.Image:
        """What the network sees: the picture fitted to the size, then preprocessed. RGB."""

        def detected() -> Image.Image:
            fitted = fit(self.job.picture, width, height, self.job.unit.resize_mode)
            return self.preprocessor(fitted, **self.values)

        shown: Image.Image = self.kept(self.key(width, height), detected)
        return shown

    def kept(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """A value from the store, held as long as this lives."""
        if key not in self._kept:
            self._kept[key] = self.store.cached(key, compute)
        return self._kept[key]

    def key(self, width: int, height: int) -> tuple[Hashable, ...]:
        """What the control map of a size is made of."""
        values = tuple(sorted(self.values.items()))
        return ("map", self.picture, self.preprocessor.name, values, self.job.unit.resize_mode, width, height)


def picture_fields(job: Job, target: Target) -> dict[str, Any]:
    """The fields of a `PicturedUnit` for a job. Raises RequestError at the unit's preprocessor."""
    chosen = preprocessor(job.unit.preprocessor, f"{job.path}.preprocessor")
    return {
        "job": job,
        "preprocessor": chosen,
        "values": {param.name: job.params[param.name] for param in chosen.params},
        "store": target.store,
        "picture": image_hash(job.picture),
    }
