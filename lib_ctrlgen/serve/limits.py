"""The limits on jobs of one user."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.request.spec import GenerationRequest

MEBIBYTE, GIBIBYTE = 1 << 20, 1 << 30
QUEUE_FULL = "{most} of your jobs wait or run, which is as many as this server allows: wait, or cancel some"
STORED = (
    "you keep {kept}, and with this it would be more than the {most} that this server allows: "
    "remove jobs or recipes that you do not need"
)
DISK_FULL = (
    "less than {floor} are free on the server's disk: remove jobs or recipes that you do not need, "
    "or ask who runs the server"
)


class QueueFullError(CtrlGenError):
    """A user has as many waiting and running jobs as one may have."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class StorageError(CtrlGenError):
    """A user keeps as much as one may, or the server's disk is nearly full."""

    status = HTTPStatus.INSUFFICIENT_STORAGE


class TooLargeError(CtrlGenError):
    """The body of a request is larger than the server accepts."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Sized(Protocol):
    """A request or a story: width and height in pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one user may ask for.

    side      pixels: the most that a picture's width and height may be
    pictures  the most pictures of one job, of all cells of a tuner's job together
    queue     the most jobs of one user that wait or run
    upload    bytes: the most of one request, with its pictures
    stored    bytes: the most that one user keeps, of jobs with their files and of versions of recipes
    floor     bytes that stay free on the server's disk; below that nothing is accepted or started
    days      after which jobs that have ended are removed; 0 keeps them until they are removed by hand
    """

    side: int = 2048
    pictures: int = 400
    queue: int = 50
    upload: int = 32 * MEBIBYTE
    stored: int = 20 * GIBIBYTE
    floor: int = 0
    days: int = 0

    def check_size(self, request: Sized) -> None:
        """Raise RequestError for pictures that are too large."""
        for name in ("width", "height"):
            if getattr(request, name) > self.side:
                message = (
                    f"is {getattr(request, name)}, this server makes pictures of {self.side} pixels a side"
                )
                raise RequestError(f"$.{name}", message)

    def check_count(self, count: int, path: str) -> None:
        """Raise RequestError for a job with too many pictures."""
        if count > self.pictures:
            raise RequestError(path, f"{count} pictures are more than this server's {self.pictures} per job")

    def check_queue(self, live: int) -> None:
        """Raise QueueFullError for a user with `live` jobs that wait or run already."""
        if live >= self.queue:
            raise QueueFullError(QUEUE_FULL.format(most=self.queue))

    def check_stored(self, kept: int, more: int = 0) -> None:
        """Raise StorageError for a user who keeps `kept` bytes and would keep `more`."""
        if kept + more > self.stored:
            raise StorageError(STORED.format(kept=size_text(kept), most=size_text(self.stored)))

    def check_disk(self, free: int) -> None:
        """Raise StorageError if the server's disk has only `free` bytes."""
        if free < self.floor:
            raise StorageError(DISK_FULL.format(floor=size_text(self.floor)))

    def check_request(self, request: GenerationRequest) -> None:
        """Raise RequestError for a job that is too large."""
        self.check_size(request)
        explored = request.blend is not None and request.blend.explore > 1
        self.check_count(pictures_of(request), "$.blend.explore" if explored else "$.batch_size")


def pictures_of(request: GenerationRequest) -> int:
    """The number of pictures of a request."""
    return request.batch_size * (1 if request.blend is None else len(map_cells(request.blend)))


def size_text(size: int) -> str:
    """Bytes for people.

    >>> size_text(0), size_text(3 * MEBIBYTE + 1), size_text(20 * GIBIBYTE)
    ('0 MiB', '3 MiB', '20 GiB')
    """
    if size < GIBIBYTE:
        return f"{size / MEBIBYTE:.3g} MiB"
    return f"{size / GIBIBYTE:.3g} GiB"
