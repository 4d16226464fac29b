"""Detects control maps without a generation, for the command `detect` and the REST route of that name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.control_pictures import ControlPicture, pose_hash
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.detection import DetectionSettings

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

    def __call__(self, picture: ControlPicture, path: str) -> Detection:
        """The control map of a picture at its own size, and the pose in it; a pose has its canvas' size.

        Raises RequestError at `path`, the picture's, for a picture that the preprocessors cannot read, and at
        `$.preprocessor` where they cannot run.
        """
        self.chain.require_readable(picture, path)
        if not isinstance(picture, Pose):
            require_visible(picture, path)
            picture = to_rgb(picture)
        mark = pose_hash(picture) if isinstance(picture, Pose) else image_hash(picture)
        key = map_key(mark, picture.size, self.chain.key(self.values), WHOLE, picture.size)
        with at_path("$.preprocessor"):
            return self.store.cached(key, lambda: self.chain.found(picture, WHOLE, picture.size, self.values))
