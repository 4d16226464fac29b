"""Downloads that run in threads of their own, so that a page can show their progress and cancel them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

from lib_ctrlgen.errors import CtrlGenError, HostError

from .download import PAUSE, download
from .published import Published


class CancelledError(Exception):
    """The download was cancelled; what has arrived is kept."""


@dataclass
class RunningDownload:
    """One download: `done` of `total` bytes have arrived (0: not known yet).

    After `ended` is set, `path` is the file, or `error` says why there is none. `before` is an earlier
    download of the same file, whose end is waited for.
    """

    entry: Published
    folder: Path
    pause: float = PAUSE
    before: RunningDownload | None = None
    done: int = 0
    total: int = 0
    path: Path | None = None
    error: CtrlGenError | None = None
    stopped: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)

    def run(self) -> None:
        """Download the file, and set `ended`."""
        if self.before is not None:
            self.before.ended.wait()
            self.before = None
        try:
            self.path = download(self.entry, self.folder, self.report, self.pause)
        except CancelledError:
            self.error = HostError(
                f"the download of {self.entry.title} was cancelled; what has arrived is kept, and the next "
                "one goes on with it"
            )
        except CtrlGenError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whoever waits for it must see it
            self.error = HostError(f"{self.entry.title}: {type(error).__name__}: {error}")
        finally:
            self.ended.set()

    def report(self, done: int, total: int) -> None:
        """Note the progress. Raises CancelledError when the download was stopped."""
        self.done, self.total = done, total
        if self.stopped.is_set():
            raise CancelledError


class RunningDownloads:
    """The downloads of a process. Whoever asks for a file that is being downloaded shares its download."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._lock = Lock()
        self._running: dict[str, RunningDownload] = {}

    def start(self, entry: Published, folder: Path) -> RunningDownload:
        """Begin a download, unless it runs already."""
        with self._lock:
            running = self._running.get(entry.title)
            if running is None or running.ended.is_set() or running.stopped.is_set():
                running = RunningDownload(entry, folder, self._pause, running)
                self._running[entry.title] = running
                name = f"ctrlgen-download-{entry.title}"
                Thread(target=running.run, name=name, daemon=True).start()
            return running

    def cancel(self, title: str) -> None:
        """Stop the download of the file with this title, if it runs."""
        with self._lock:
            running = self._running.get(title)
        if running is not None:
            running.stopped.set()
