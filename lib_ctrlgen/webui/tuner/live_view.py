"""Shows a running tuner on the page: its unfinished sheet instead of live previews, and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from modules import shared

from lib_ctrlgen.tuner.live_sheet import LiveSheet
from lib_ctrlgen.tuner.progress import Progress

PAUSE = 1.0  # least number of seconds between two sheets


@dataclass
class TunerView:
    """Shows the progress of a tuner in the place of the WebUI's live preview."""

    sheet: LiveSheet
    drawn: float = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Replace the live preview within the block; the WebUI's state is restored at its end."""
        shared.state.set_current_image = lambda: None
        try:
            yield
        finally:
            del shared.state.set_current_image
            shared.state.textinfo = None

    def tell(self, progress: Progress) -> None:
        """Show the progress as text, and the sheet if the last one is not too recent."""
        shared.state.textinfo = progress.text
        now = monotonic()
        if progress.cells and (now - self.drawn > PAUSE or progress.done == progress.total):
            self.drawn = now
            shared.state.assign_current_image(self.sheet.draw(progress.cells))
