"""Errors on the page: one is shown below the gallery and as one line in the log, and no picture is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.field_errors import Mark, in_order, mark_of_error, other_errors
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.request.spec import ControlUnit

from .rest import log
from .sampling.method_patch import Refusal, SamplePatch
from .settings import model_store

DECODED_CHANNELS = 3
MARKS = "CtrlGen marks"  # the key in what the page gets about a generation, never in an infotext


def is_plain_page(p: Any) -> bool:
    """Whether the page started the generation, not the API or a script that needs its pictures."""
    scripted = (getattr(p, "script_args", None) or (0,))[0]
    return not (getattr(p, "is_api", False) or scripted or getattr(p, "txt2img_upscale", False))


def show_mistake(p: Any, error: CtrlGenError, panel: Sequence[Any] = ()) -> list[Mark]:
    """Show an error below the gallery and in the log; returns the marks of the fields.

    With the values of the `panel`, those of its units are checked, and their errors are shown, too.
    """
    errors = in_order([error, *(other_errors(panel, error, check_alone) if panel else ())])
    values = PanelValues.of(panel) if panel else None
    marks = [mark_of_error(each, values) for each in errors]
    for each, mark in zip(errors, marks, strict=True):
        log(each)
        p.comment(f"CtrlGen: {mark.sentence}")
    return marks


def check_alone(unit: ControlUnit, path: str) -> None:
    """Raise RequestError for a unit whose picture, model or parameters no generation would accept.

    Of its model only the header is read.
    """
    from lib_ctrlgen.controls.checked import check_unit  # imports the controls, so only after an error
    from lib_ctrlgen.images.control_pictures import decode_control_picture

    check_unit(unit, path, model_store())
    for name, picture in (("image", unit.image), ("mask", unit.mask)):
        if picture:
            decode_control_picture(picture, f"{path}.{name}")


def with_marks(processed: Any, marks: Sequence[Mark]) -> Any:
    """The result of a generation of the page, with the marks of its fields for the browser.

    The dict of the generation itself is not changed: infotexts are made from it.
    """
    if marks:
        shown = [mark.payload() for mark in marks]
        processed.extra_generation_params = {**processed.extra_generation_params, MARKS: shown}
    return processed


class EmptyPicture:
    """The only element of a failed batch; `torch.stack` of it is a batch of zero pictures."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: Any, _args: Any = (), _kwargs: Any = None
    ) -> Tensor:
        """Return an empty batch, [0, 3, 0, 0], where the WebUI stacks the decoded pictures of a batch."""
        return torch.zeros(0, DECODED_CHANNELS, 0, 0) if function is torch.stack else NotImplemented


class EmptyBatch(list[EmptyPicture]):
    """The result of a failed `p.sample`. The WebUI takes it for decoded pictures, of which there are none."""

    already_decoded = True


def end_batch(patch: SamplePatch, error: CtrlGenError) -> EmptyBatch:
    """Show an error of `p.sample` on the page, and return an empty batch instead of raising.

    The pictures of earlier batches stay; `before_process_batch` ends the later batches.
    """
    refusal = Refusal.instead_of(patch, error)
    refusal.marks += show_mistake(patch.p, error, patch.panel)
    patch.p.do_not_save_grid = True  # there may be no picture for a grid
    return EmptyBatch([EmptyPicture()])
