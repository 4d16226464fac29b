"""A further reference of a unit: a picture or a saved embedding, with a weight and a role."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from lib_ctrlgen.errors import RequestError

from .base import Spec
from .schedule import Schedule, constant

Combine: TypeAlias = Literal["concat", "add", "subtract", "average", "norm_average", "max", "min"]
Role: TypeAlias = Literal["reference", "composition", "negative"]


def _full() -> Schedule:
    return constant(1.0)


class Reference(Spec, frozen=True, kw_only=True):
    """One more reference of an IP-Adapter unit.

    image      the picture: base64 or a data URL
    embedding  instead of it, a saved embedding: a safetensors file as base64 or as a data URL
    weight     what its features are multiplied by before they are combined; number or schedule
    role       `reference`: combined with the unit's own picture; `composition`: gives the layout where the
               weight type has a style and a composition; `negative`: what unconditional rows attend to
    """

    image: str = ""
    embedding: str = ""
    weight: Annotated[Schedule, Meta(extra_json_schema={"default": 1})] = field(default_factory=_full)
    role: Role = "reference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image and self.embedding:
            raise RequestError("embedding", "is there beside 'image': give one of them")
        if not self.image and not self.embedding:
            raise RequestError("image", "is empty: send a picture as base64 or a data URL, or an embedding")
