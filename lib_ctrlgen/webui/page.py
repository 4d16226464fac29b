"""Errors on the page: one is shown below the gallery and as one line in the log, and no picture is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_ctrlgen.errors import CtrlGenError

from .rest import log
from .sampling.method_patch import MethodPatch, Refusal

DECODED_CHANNELS = 3


def is_plain_page(p: Any) -> bool:
    """Whether the page started the generation, not the API or a script that needs its pictures."""
    scripted = (getattr(p, "script_args", None) or (0,))[0]
    return not (getattr(p, "is_api", False) or scripted or getattr(p, "txt2img_upscale", False))


def show_mistake(p: Any, error: CtrlGenError) -> None:
    """Show an error below the gallery and in the log."""
    log(error)
    p.comment(f"CtrlGen: {error}")


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


def end_batch(patch: MethodPatch, error: CtrlGenError) -> EmptyBatch:
    """Show an error of `p.sample` on the page, and return an empty batch instead of raising.

    The pictures of earlier batches stay; `before_process_batch` ends the later batches.
    """
    show_mistake(patch.p, error)
    Refusal.instead_of(patch, error)
    patch.p.do_not_save_grid = True  # there may be no picture for a grid
    return EmptyBatch([EmptyPicture()])
