"""The text beside the WebUI's progress bar, which `/sdapi/v1/progress` answers as `textinfo`, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import shared

from lib_ctrlgen.request.progress import Progress


@contextmanager
def progress_text(text: str) -> Iterator[None]:
    """Show a text beside the progress bar; afterwards the former text is there again."""
    former, own = getattr(shared.state, "textinfo", None), f"CtrlGen: {text} ..."
    shared.state.textinfo = own
    try:
        yield
    finally:
        if shared.state.textinfo == own:  # else the WebUI has begun to show something else
            shared.state.textinfo = former


def interrupted() -> bool:
    """Whether the user interrupted the generation or skipped the rest of the batch."""
    return bool(shared.state.interrupted or getattr(shared.state, "skipped", False))


def loading_progress(p: Any) -> Progress:
    """The progress of what is loaded for a generation.

    Skip ends it only where no further batch follows: the models are for all batches.
    """

    def stopped() -> bool:
        ends = shared.state.interrupted or getattr(shared.state, "stopping_generation", False)
        return bool(ends or (int(getattr(p, "n_iter", 1)) == 1 and interrupted()))

    return Progress(progress_text, stopped)


PASS = Progress(progress_text, interrupted)
