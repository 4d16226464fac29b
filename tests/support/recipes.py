"""Jobs, pictures and zips for the tests of recipes."""

import io
import stat
import zipfile
from collections.abc import Mapping
from typing import Any

from PIL import Image

from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.recipes.content import Recipe

UNIX = 3


def png(colour: str = "red", size: tuple[int, int] = (8, 8)) -> bytes:
    """The bytes of a PNG of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def job(colour: str = "red", **changes: Any) -> dict[str, Any]:
    """A job with one unit, whose picture has one colour."""
    unit = {"model": "edges [0123abcd]", "image": encode_image(Image.new("RGB", (8, 8), colour))}
    return {"prompt": "a chair", "seed": 5, "units": [{**unit, "weight": "1@0, 0@0.6"}], **changes}


def recipe(colour: str = "red", *, result: str = "", **changes: Any) -> Recipe:
    """A recipe of such a job, with a result of one colour."""
    return Recipe(job=job(colour, **changes), result=png(result) if result else b"")


def zip_of(files: Mapping[str, bytes], mode: int = stat.S_IFREG | 0o644, **options: Any) -> bytes:
    """A zip with these entries, whose names are written as they are given."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo("x" * len(name))
            entry.filename, entry.create_system = name, UNIX
            entry.external_attr = mode << 16
            entry.compress_type = options.get("method", zipfile.ZIP_DEFLATED)
            archive.writestr(entry, data)
    return stream.getvalue()
