"""A user's mistake on the page: a comment below the gallery and one line in the log, and no picture."""

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
    """Whether the page itself asked for a generation's pictures: no API, no script that counts on them."""
    scripted = (getattr(p, "script_args", None) or (0,))[0]
    return not (getattr(p, "is_api", False) or scripted or getattr(p, "txt2img_upscale", False))


def show_mistake(p: Any, error: CtrlGenError) -> None:
    """Say what was wrong below the gallery, and in the log."""
    log(error)
    p.comment(f"CtrlGen: {error}")


class NoPicture:
    """The only element of a batch that could not be made: `torch.stack` makes no pictures of it."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: Any, _args: Any = (), _kwargs: Any = None
    ) -> Tensor:
        """No pictures, [0, 3, 0, 0], where the WebUI stacks a batch's decoded pictures."""
        return torch.zeros(0, DECODED_CHANNELS, 0, 0) if function is torch.stack else NotImplemented


class NoPictures(list[NoPicture]):
    """What `p.sample` gives where it failed: to the WebUI, decoded pictures, of which there are none."""

    already_decoded = True


def end_batch(held: MethodPatch, error: CtrlGenError) -> NoPictures:
    """End a sampling of the page that failed, without the exception that the WebUI would print at length.

    The pictures of the batches before it stay; `before_process_batch` ends those after it.
    """
    show_mistake(held.p, error)
    Refusal.instead_of(held, error)
    held.p.do_not_save_grid = True  # there may be no picture for it
    return NoPictures([NoPicture()])
