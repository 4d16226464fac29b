"""Requests for the faces of a picture."""

from __future__ import annotations

from lib_ctrlgen.request.base import Spec

from .face import ALL
from .packs import FACE_ID


class FacesRequest(Spec, frozen=True, kw_only=True):
    """The body of the REST route `faces`.

    image        the picture, base64 or a data URL
    pack         insightface's model pack: "buffalo_l", or "antelopev2"
    face_choice  "all", "largest", or a face's number counted from the left
    """

    image: str
    pack: str = FACE_ID
    face_choice: str = ALL
