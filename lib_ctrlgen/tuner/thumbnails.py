"""Small copies of the cells' pictures, which the report shows in its grid."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from lib_ctrlgen.files import save_bytes

FOLDER = "thumbnails"
SIZE = 256  # pixels of the longer side
QUALITY = 85
START, END = b"\xff\xd8", b"\xff\xd9"  # the markers at both ends of a JPEG file


def thumbnail_name(name: str) -> str:
    """The file of a picture's thumbnail, both relative to the tuner's folder.

    >>> thumbnail_name("cells/0123456789abcdef-00-seed-1.png")
    'thumbnails/0123456789abcdef-00-seed-1.jpg'
    """
    return f"{FOLDER}/{Path(name).stem}.jpg"


def save_thumbnail(picture: Image.Image, folder: Path, name: str) -> None:
    """Write the thumbnail of the picture with this name. Raises HostError."""
    small = picture.convert("RGB")
    small.thumbnail((SIZE, SIZE))
    data = BytesIO()
    small.save(data, "JPEG", quality=QUALITY)
    save_bytes(data.getvalue(), folder / thumbnail_name(name))


def require_thumbnails(folder: Path, names: list[str]) -> None:
    """Write the thumbnails that are missing or cut off. Raises HostError."""
    for name in dict.fromkeys(names):
        if not is_whole(folder / thumbnail_name(name)):
            with Image.open(folder / name) as picture:
                save_thumbnail(picture, folder, name)


def is_whole(path: Path) -> bool:
    """Whether a JPEG file exists and is complete."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return data.startswith(START) and data.endswith(END)
