"""Shows a running tuner on the page: its unfinished sheet instead of live previews, and the time left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from modules import shared
from PIL import Image

from lib_ctrlgen.tuner.finished_cell import FinishedCell
from lib_ctrlgen.tuner.progress import Progress
from lib_ctrlgen.tuner.sheet import labelled

TILE = 192  # pixels
RECENT = 8  # cells of a search, which has no grid
PAUSE = 1.0  # seconds between two sheets at least


@dataclass
class TunerView:
    """Shows what a tuner tells. `columns` and `rows` name the grid's values; a search has none."""

    folder: Path
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    titles: tuple[str, str] = ("", "")
    tiles: dict[str, Image.Image] = field(default_factory=dict)
    drawn: float = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Hold the place of the live preview; the WebUI's state is left as it was."""
        shared.state.set_current_image = lambda: None
        try:
            yield
        finally:
            del shared.state.set_current_image
            shared.state.textinfo = None

    def tell(self, progress: Progress) -> None:
        """Show how far it is."""
        shared.state.textinfo = words(progress)
        now = monotonic()
        if progress.cells and (now - self.drawn > PAUSE or progress.done == progress.total):
            self.drawn = now
            shared.state.assign_current_image(self.sheet(progress.cells))

    def sheet(self, cells: Sequence[FinishedCell]) -> Image.Image:
        """The grid's layer of the newest cell; of a search the newest cells."""
        if not self.columns:
            newest = cells[-RECENT:]
            tiles = {(k, 0): self.tile(each) for k, each in enumerate(newest)}
            return labelled(tiles, [", ".join(each.cell.shown) for each in newest], ("",), self.titles)
        layer = self.newest(cells).cell.coords[2:]
        places = {(*each.cell.coords, 0)[:2]: each for each in cells if each.cell.coords[2:] == layer}
        tiles = {(column, row): self.tile(each) for (column, row), each in places.items()}
        return labelled(tiles, self.columns, self.rows or ("",), self.titles)

    def newest(self, cells: Sequence[FinishedCell]) -> FinishedCell:
        """The cell whose picture has not been shown yet, or else the last one."""
        unseen = (each for each in cells if each.files and each.files[0] not in self.tiles)
        return next(unseen, cells[-1])

    def tile(self, done: FinishedCell) -> Image.Image | str:
        """A cell's first picture, small; a failure in words."""
        if done.error or not done.files:
            return done.error or "failed"
        name = done.files[0]
        if name not in self.tiles:
            picture = Image.open(self.folder / name).convert("RGB")
            picture.thumbnail((TILE, TILE))
            self.tiles[name] = picture
        return self.tiles[name]


def words(progress: Progress) -> str:
    """How far, and how long still, in a line."""
    far = f"{progress.done} of {progress.total}"
    if progress.seconds_left is None or progress.done == progress.total:
        return far
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
    return f"{far}, about {left} left"
