"""A user's mistake on the page: a comment below the gallery and one line in the log, and no picture."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.errors import CtrlGenError

from .rest import log


def is_plain_page(p: Any) -> bool:
    """Whether the page itself asked for a generation's pictures: no API, no script that counts on them."""
    scripted = (getattr(p, "script_args", None) or (0,))[0]
    return not (getattr(p, "is_api", False) or scripted or getattr(p, "txt2img_upscale", False))


def show_mistake(p: Any, error: CtrlGenError) -> None:
    """Say what was wrong below the gallery, and in the log."""
    log(error)
    p.comment(f"CtrlGen: {error}")
