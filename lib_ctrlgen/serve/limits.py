"""The limits on jobs of one user."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.request.spec import GenerationRequest

MEBIBYTE = 1 << 20


class QueueFullError(CtrlGenError):
    """A user has as many waiting and running jobs as one may have."""

    status = HTTPStatus.TOO_MANY_REQUESTS


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
    """

    side: int = 2048
    pictures: int = 400
    queue: int = 50
    upload: int = 32 * MEBIBYTE

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

    def check_request(self, request: GenerationRequest) -> None:
        """Raise RequestError for a job that is too large."""
        self.check_size(request)
        explored = request.blend is not None and request.blend.explore > 1
        self.check_count(pictures_of(request), "$.blend.explore" if explored else "$.batch_size")


def pictures_of(request: GenerationRequest) -> int:
    """The number of pictures of a request."""
    return request.batch_size * (1 if request.blend is None else len(map_cells(request.blend)))
