"""Detects control maps without a generation, for the command `detect` and the REST route of that name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.control_pictures import ControlPicture, pose_hash
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.detection import DetectionSettings

from .chain import PreprocessorChain, Values, chain_of, map_key
from .detection import WHOLE, Detection
from .disk_maps import kept_on_disk

if TYPE_CHECKING:
    import torch

    from lib_ctrlgen.models.store import ModelStore


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Preprocessors with the values of their parameters, and the store that models and maps are cached in."""

    chain: PreprocessorChain
    values: Values
    store: ModelStore

    @staticmethod
    def of(
        settings: DetectionSettings,
        store: ModelStore,
        device: torch.device | str = "cpu",
        *,
        away: bool = False,
    ) -> Detector:
        """The detector of these settings. Raises RequestError at `$.preprocessor` or `$.params`.

        Networks run on `device`; with `away`, their weights are in the CPU's memory between uses.
        """
        named = chain_of(settings.preprocessor, "$.preprocessor")
        chain = named.with_store(store).on(device).offloaded(away)
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
        with at_path("$.preprocessor"):
            return cached_detection(self.store, self.chain, self.values, picture, WHOLE, picture.size)


def cached_detection(
    store: ModelStore,
    chain: PreprocessorChain,
    values: Values,
    picture: ControlPicture,
    frame: Frame,
    size: tuple[int, int],
) -> Detection:
    """The control map of a picture at a size, and the pose in it: from the caches, or computed.

    A generation with the same picture uses the same one. Raises what the preprocessors raise.
    """
    shown = picture if isinstance(picture, Pose) else to_rgb(picture)
    mark = pose_hash(shown) if isinstance(shown, Pose) else image_hash(shown)
    key = map_key(mark, shown.size, chain.key(values), frame, size)

    def found() -> Detection:
        return chain.found(shown, frame, size, values)

    return store.cached(key, lambda: kept_on_disk(store, chain, key, (shown,), found))
