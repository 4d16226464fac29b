"""The ratings of a tuner job over REST: the report's page sends stars, favourites and blind votes here."""

from __future__ import annotations

from threading import Lock
from typing import Any

from fastapi import Body

from lib_ctrlgen.tuner.ratings import Ratings, RatingsFile, read_body
from lib_ctrlgen.tuner.votes import strengths

from .jobs import known


class RatingRoutes:
    """The route's functions. The lock keeps two requests from replacing the file at the same time."""

    def __init__(self) -> None:
        self.lock = Lock()

    def get(self, name: str) -> dict[str, Any]:
        """Return the ratings of a job. Raises HTTPException 404, or HostError for an unreadable file."""
        file, _ = known(name)
        return answer(RatingsFile(file.folder).read())

    def post(self, name: str, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
        """Merge ratings into those of a job, and return all when they are written.

        Raises HTTPException 404, RequestError, or HostError for an unreadable file.
        """
        file, _ = known(name)
        more = read_body(payload)
        with self.lock:
            return answer(RatingsFile(file.folder).add(more))


def answer(ratings: Ratings) -> dict[str, Any]:
    """The ratings with the strengths that the votes give to cells."""
    found = {}
    for key, each in strengths(list(ratings.votes.values())).items():
        share = dict(zip(("share", "low", "high"), each.share, strict=True))
        found[key] = {"value": each.value, "error": each.error, "votes": each.votes, **share}
    return {**ratings.as_json, "strengths": found}
