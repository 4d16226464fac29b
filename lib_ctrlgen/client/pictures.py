"""Pictures on their way to a WebUI and back: files, bytes and Pillow's images as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from mimetypes import guess_type
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, PICTURES, pictured_parts

SentPicture: TypeAlias = "str | bytes | Path | Image.Image"  # a text is base64 or a data URL


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of an answer: its file as it was sent (usually a PNG with its infotext), infotext and seed.

    Sheets and control maps have no infotext and no seed of their own.
    """

    data: bytes = field(repr=False)
    infotext: str = ""
    seed: int | None = None

    @classmethod
    def of(cls, text: str, infotext: str = "", seed: int | None = None) -> Picture:
        """The picture in base64 or a data URL. Raises ValueError."""
        _, _, content = text.partition(",") if text.startswith("data:") else ("", "", text)
        return cls(data=base64.b64decode(content, validate=True), infotext=infotext, seed=seed)

    @property
    def image(self) -> Image.Image:
        """The decoded picture."""
        return Image.open(io.BytesIO(self.data))

    @property
    def suffix(self) -> str:
        """The suffix of a file with this content, such as `.png`."""
        with Image.open(io.BytesIO(self.data)) as image:
            return {"JPEG": ".jpg", "WEBP": ".webp"}.get(image.format or "", ".png")

    def save(self, path: Path) -> Path:
        """Write the file as it was sent. Raises HostError."""
        return save_bytes(self.data, path)


def sent(picture: SentPicture, path: str = "$") -> str:
    """A picture or another file as a data URL; a text is returned as it is. Raises RequestError at `path`."""
    if isinstance(picture, str):
        return picture
    if isinstance(picture, Image.Image):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return data_url(stream.getvalue(), "image/png")
    if isinstance(picture, bytes):
        return data_url(picture, "image/png")
    if isinstance(picture, Path):
        try:
            return data_url(picture.read_bytes(), guess_type(picture.name)[0] or "image/png")
        except OSError as error:
            raise RequestError(path, f"{picture}: {error.strerror or error}") from error
    raise RequestError(path, f"expected a picture (Pillow, bytes, Path, base64), got {picture!r}")


def data_url(data: bytes, kind: str) -> str:
    """A file's content as a data URL of this MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def with_sent_pictures(request: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a request in which every picture is a text, see `sent`. Raises RequestError."""
    found = deepcopy(dict(request))
    for path, part in pictured_parts(found):
        for name in (*PICTURES, *EMBEDDINGS):
            if name in part and part[name] is not None:
                part[name] = sent(part[name], f"{path}.{name}")
        for name in LISTS:
            if isinstance(part.get(name), (list, tuple)):
                part[name] = [sent(each, f"{path}.{name}[{n}]") for n, each in enumerate(part[name])]
    return found
