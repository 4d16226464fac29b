"""The last picture that this process of the WebUI made, for units with `image_from: last`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image


@dataclass
class LastPicture:
    """The first picture of the last generation: of the page or of the API, of any tab and any client."""

    picture: Image.Image | None = None

    def keep(self, processed: Any) -> None:
        """Remember the first picture of a generation, which is behind its grid, unless it made none.

        The picture is not copied. `processed` is the WebUI's `Processed`.
        """
        first = processed.images[processed.index_of_first_image :][:1]
        if first and isinstance(first[0], Image.Image):
            self.picture = first[0]


@lru_cache(maxsize=1)
def last_picture() -> LastPicture:
    """The process's only LastPicture."""
    return LastPicture()
