"""Detects control maps without a generation, for the command `detect` and the REST route of that name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.control_pictures import ControlPicture, pose_hash
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.detection import DetectionSettings
from lib_ctrlgen.request.notices import Notices

from .chain import PreprocessorChain, Values, chain_of, map_key
from .detection import WHOLE, Detection

if TYPE_CHECKING:
    from lib_ctrlgen.models.store import ModelStore


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Preprocessors with the values of their parameters, and the store that models and maps are cached in."""

    chain: PreprocessorChain
    values: Values
    store: ModelStore

    @staticmethod
    def of(settings: DetectionSettings, store: ModelStore) -> Detector:
        """The detector of these settings. Raises RequestError at `$.preprocessor` or `$.params`."""
        chain = chain_of(settings.preprocessor, "$.preprocessor").with_store(store)
        chain.checked(settings.params, (), "$.params")
        return Detector(chain=chain, values=chain.values(settings.params), store=store)

    def __call__(self, picture: ControlPicture, path: str, notices: Notices | None = None) -> Detection:
        """The control map of a picture at its own size, and the pose in it; a pose has its canvas' size.

        Adds a warning to `notices` if a detector finds nothing. Raises RequestError at `path`, the picture's,
        for a picture that the preprocessors cannot read, and at `$.preprocessor` where they cannot run.
        """
        found = self._found(picture, path)
        looked = self.chain.detects or found.pose is not None
        if notices is not None and looked and _has_one_colour(found.map):
            message = f"the control map has one colour: {self.chain.label!r} finds nothing in the picture"
            notices.add(path, f"{message} (look at its parameters)")
        return found

    def _found(self, picture: ControlPicture, path: str) -> Detection:
        self.chain.require_readable(picture, path)
        if not isinstance(picture, Pose):
            require_visible(picture, path)
            picture = to_rgb(picture)
        mark = pose_hash(picture) if isinstance(picture, Pose) else image_hash(picture)
        key = map_key(mark, picture.size, self.chain.key(self.values), WHOLE, picture.size)
        with at_path("$.preprocessor"):
            return self.store.cached(key, lambda: self.chain.found(picture, WHOLE, picture.size, self.values))


def _has_one_colour(picture: Image.Image) -> bool:
    pixels = np.asarray(picture)
    return bool((pixels.min((0, 1)) == pixels.max((0, 1))).all())
