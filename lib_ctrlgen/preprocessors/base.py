"""The protocol of a preprocessor: it turns a picture into a control map of the same size."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from PIL import Image

from lib_ctrlgen.request.params import Param

if TYPE_CHECKING:
    from lib_ctrlgen.models.store import ModelStore

Comparison: TypeAlias = Literal["edges", "structure"]


class Preprocessor(Protocol):
    """A preprocessor. What the rest of CtrlGen has to know about it are attributes of its class.

    Derive from this class, so that only what differs from the defaults has to be written:

    name         what a request's `preprocessor` says
    title        what lists for users show beside the name
    params       its parameters, in `params` of a unit
    detects      whether it looks for something (edges, depth, a pose) and may do so at another resolution
                 than the generation's: such a preprocessor gets the parameter `resolution`. False for
                 what changes pixels one by one or depends on the generation's size
    reads_map    whether the picture is a control map already: it is then resized as one, with sharp edges
    marks_holes  whether the picture's transparent area, or the border that 'resize_and_fill' adds, is to be
                 generated anew; a picture without either is an error
    union_type   the type of its maps for a ControlNet Union, a name of `controls.controlnet.union_types`;
                 empty where there is none
    after_unet   the class of what the unit does after the U-Net beside its control, `package.module:Class`,
                 built by `Class.of(job, target)`; empty for nothing
    compared     how the tuner compares the maps of two pictures, a name of `tuner.scoring.map_likeness`;
                 None for a preprocessor that finds nothing which a picture could follow
    """

    name: ClassVar[str]
    title: ClassVar[str]
    params: ClassVar[tuple[Param, ...]] = ()
    detects: ClassVar[bool] = True
    reads_map: ClassVar[bool] = False
    marks_holes: ClassVar[bool] = False
    union_type: ClassVar[str] = ""
    after_unet: ClassVar[str] = ""
    compared: ClassVar[Comparison | None] = None

    def with_store(self, store: ModelStore) -> Preprocessor:
        """This preprocessor with the store that its models are loaded from; the same where it needs none."""
        del store
        return self

    @abstractmethod
    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Turn an RGB picture into an RGB control map of the same size. Raises ModelError or RequestError."""
