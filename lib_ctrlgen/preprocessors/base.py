"""The protocol of a preprocessor: it turns a picture into a control map of the same size."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from PIL import Image

from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.params import Param

if TYPE_CHECKING:
    import torch

    from lib_ctrlgen.models.store import ModelStore

Comparison: TypeAlias = Literal["edges", "structure"]


class Preprocessor(Protocol):
    """A preprocessor. Its class attributes contain everything that the rest of CtrlGen needs to know.

    Derive from this class, so that only attributes that differ from the defaults have to be written:

    name         its name in a request's `preprocessor`
    title        its title in lists for users
    params       its parameters in the `params` of a unit
    detects      whether it detects something (edges, depth, a pose), possibly at another resolution than the
                 generation's: such a preprocessor gets the parameter `resolution`. False for preprocessors
                 that change pixels one by one or depend on the generation's size
    reads_map    whether the picture is a control map already, and is resized as one, with sharp edges
    reads_pose   whether the unit's picture is a pose in OpenPose JSON, which other preprocessors cannot read
    marks_holes  whether the picture's transparent area, and the border of 'resize_and_fill', are holes; a
                 picture without a hole is then an error
    union_type   the type of its maps for a ControlNet Union, a name of `controls.controlnet.union_types`;
                 empty if there is none
    after_unet   the class, as `package.module:Class`, of a second control that changes the predicted latent
                 or the finished picture; it is built by `Class.of(job, target)`. Empty for no such control
    compared     how the tuner compares the maps of two pictures, a name of `tuner.scoring.map_likeness`;
                 None for a preprocessor whose maps do not tell whether a picture follows them
    needs_weights  whether it needs files that the user has to download
    """

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]] = ()
    detects: ClassVar[bool] = True
    reads_map: ClassVar[bool] = False
    reads_pose: ClassVar[bool] = False
    marks_holes: ClassVar[bool] = False
    union_type: ClassVar[str] = ""
    after_unet: ClassVar[str] = ""
    compared: ClassVar[Comparison | None] = None
    needs_weights: ClassVar[bool] = False

    def with_store(self, store: ModelStore) -> Preprocessor:
        """This preprocessor with the store that its models are loaded from; the same where it needs none."""
        del store
        return self

    def on(self, device: torch.device | str) -> Preprocessor:
        """This preprocessor with the device that its networks run on; the same where it has none."""
        del device
        return self

    def offloaded(self, away: bool) -> Preprocessor:
        """This preprocessor, with its networks' weights in the CPU's memory between uses if `away`."""
        del away
        return self

    def weight_files(self) -> tuple[Path, ...] | None:
        """The files that its networks are read from; None if they are not known. Raises ModelError.

        Maps are kept on disk only where they are known, so that other weights make other maps.
        """
        return None if self.needs_weights else ()

    @abstractmethod
    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Turn an RGB picture into an RGB control map of the same size. Raises ModelError or RequestError."""


class PoseDetector(Preprocessor):
    """A preprocessor that finds poses. Its control map is their drawing."""

    union_type: ClassVar[str] = "openpose"

    @abstractmethod
    def pose(self, image: Image.Image, **params: Any) -> Pose:
        """The people and animals in an RGB picture, on a canvas of its size. Raises ModelError."""

    def drawn(self, pose: Pose, size: tuple[int, int], **params: Any) -> Image.Image:
        """The control map of a pose, RGB, `size` (width, height) in pixels."""
        del params
        return draw(pose, size)

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the poses in an RGB picture, drawn on black."""
        return self.drawn(self.pose(image, **params), image.size, **params)
