"""The text beside the WebUI's progress bar, which `/sdapi/v1/progress` answers as `textinfo`, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@contextmanager
def step_texts() -> Iterator[Callable[[str], None]]:
    """A function that shows a text of the steps beside the progress bar; an empty one shows the former text.

    A text that was there before, such as how far the tuner is, stays in front of it.
    """
    former, own = getattr(shared.state, "textinfo", None), ""

    def tell(text: str) -> None:
        nonlocal own
        if own and shared.state.textinfo != own:
            own = ""  # the WebUI has begun to show something else
        elif text:
            own = f"{former}; {text} ..." if former else f"CtrlGen: {text} ..."
            shared.state.textinfo = own
        elif own:
            shared.state.textinfo, own = former, ""

    try:
        yield tell
    finally:
        tell("")


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
