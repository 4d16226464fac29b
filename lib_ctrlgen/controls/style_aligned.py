"""StyleAligned: the pictures of a batch in the style of its first one, without a model file or a picture.

Hertz et al. 2023, Style Aligned Image Generation via Shared Attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lib_ctrlgen.controls.fileless_params import STYLE_ALIGNED
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.params import Param

from .base import Target, UnitInputs, WithoutFile, note_share, require_balanced, require_no_preprocessor

ONE_PICTURE = (
    "StyleAligned aligns the pictures of a batch with its first one, and this batch has one picture: ask for "
    "a batch size of two or more"
)
NO_PICTURE = (
    "StyleAligned takes the style from the first picture of the batch: leave the picture out, or take "
    "'reference' or an IP-Adapter to show one"
)


@dataclass(frozen=True, kw_only=True)
class StyleAligned(WithoutFile):
    """The family for one checkpoint. `layers` is the number of its self attentions (16 on SD1.5)."""

    name: ClassVar[str] = "style_aligned"
    title: ClassVar[str] = "StyleAligned"
    params: ClassVar[tuple[Param, ...]] = STYLE_ALIGNED

    layers: int

    @classmethod
    def built(cls, target: Target) -> StyleAligned:
        """The control for a U-Net."""
        return cls(layers=len(target.shape.attention_hidden))

    def prepare(self, job: UnitInputs, target: Target) -> PreparedStyleAligned:
        """The unit's control. Raises RequestError at the unit's fields, also for a batch of one picture."""
        require_no_preprocessor(job, "StyleAligned")
        require_balanced(job, "StyleAligned")
        note_share(job, target, "StyleAligned")
        if job.given is not None:
            raise RequestError(f"{job.path}.image", NO_PICTURE)
        if target.canvas.batch < 2:
            raise RequestError(f"{job.path}.control", ONE_PICTURE)
        return PreparedStyleAligned(
            pictures=target.canvas.batch,
            score_scale=float(job.params["shared_score_scale"]),
            score_shift=float(job.params["shared_score_shift"]),
            only_self_level=float(job.params["only_self_level"]),
            shares_norms=bool(job.params["share_group_norm"]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedStyleAligned:
    """One unit of a generation. `pictures` consecutive pictures are aligned with the first of them."""

    pictures: int
    score_scale: float
    score_shift: float
    only_self_level: float
    shares_norms: bool
