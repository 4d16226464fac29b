"""Requests for control maps without a generation: preprocessors, their parameters, and pictures."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from lib_ctrlgen.errors import RequestError

from .base import Spec
from .preprocessing import Param, Preprocessing, check_param_values, check_preprocessing

MOST_PICTURES = 64


class DetectionSettings(Spec, frozen=True, kw_only=True):
    """The preprocessors of a detection.

    preprocessor  as in a unit: one name, several in a text (`canny | invert`), or a list
    params        the values of their parameters, by name
    """

    preprocessor: Preprocessing
    params: dict[str, Param] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_preprocessing("preprocessor", self.preprocessor)
        check_param_values("params", self.params)


class DetectionRequest(DetectionSettings, frozen=True, kw_only=True):
    """The body of the REST route `detect`.

    image   a picture: base64 or a data URL; for `openpose_json` a pose in OpenPose JSON
    images  instead of it, up to 64 pictures
    """

    image: str = ""
    images: Annotated[tuple[str, ...], Meta(max_length=MOST_PICTURES)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image and self.images:
            raise RequestError("images", "is there beside 'image': give one of them")
        if not self.image and not self.images:
            raise RequestError("image", "is required: a picture, or several in 'images'")

    @property
    def pictures(self) -> tuple[tuple[str, str], ...]:
        """The JSON path and the text of each picture."""
        if self.image:
            return (("$.image", self.image),)
        return tuple((f"$.images[{number}]", text) for number, text in enumerate(self.images))
