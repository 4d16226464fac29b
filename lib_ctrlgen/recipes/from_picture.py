"""Reads the recipe that a picture file describes: a picture of the WebUI, or one of `ctrlgen run`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from io import BytesIO
from typing import Any

from PIL import Image

from lib_ctrlgen.compat.infotext import read_infotext
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.request.names import split_hash, without_suffix

from .content import Payload, model_parts, without_folder
from .infotext import Find, Imported, recipe_of_infotext, recipe_of_job

INFOTEXT, JOB = "parameters", "ctrlgen"  # text chunks of a PNG
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
CODE = 8  # bytes before the text of a comment in EXIF, which name its encoding
FORMATS = ["PNG", "JPEG", "WEBP"]


def recipe_of_picture(data: bytes, find: Find) -> Imported:
    """The recipe of a picture, which becomes its result. Raises RequestError if it describes none."""
    decode_bytes(data, "$.picture")
    texts = texts_in(data)
    if texts.get(JOB):
        return recipe_of_job(texts[JOB], find, data)
    if texts.get(INFOTEXT):
        return recipe_of_infotext(texts[INFOTEXT], find, data)
    raise RequestError("$.picture", "the picture has no infotext: take the file that the WebUI has saved")


def with_hashes(job: Mapping[str, Any], result: bytes) -> Payload:
    """The job with the hashes of models that the infotext of its result names, for models without a hash."""
    texts, named = texts_in(result), deepcopy(dict(job))
    info = read_infotext(texts.get(INFOTEXT, "")).fields
    known = {info["Model"]: info["Model hash"]} if {"Model", "Model hash"} <= info.keys() else {}
    try:
        recorded = recipe_of_picture(result, lambda _: "").recipe.job if len(texts) else {}
    except RequestError:  # it was made by something else
        recorded = {}
    known |= dict(split_hash(part.get("model", "")) for _, part in model_parts(recorded))
    for _, part in model_parts(named):
        name, digest = split_hash(without_folder(part.get("model", "")))
        found = known.get(name) or known.get(without_suffix(name), "")
        if name and found and not digest:
            part["model"] = f"{name} [{found}]"
    return named


def texts_in(data: bytes) -> dict[str, str]:
    """The texts in a PNG, or the comment in a JPEG's or WebP's EXIF data as `parameters`."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            image.load()
            found = {name: str(image.info[name]) for name in (INFOTEXT, JOB) if name in image.info}
            comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
    except (OSError, ValueError, SyntaxError, KeyError) as error:
        raise RequestError("$.picture", f"its infotext cannot be read: {error}") from error
    if isinstance(comment, bytes) and INFOTEXT not in found:
        found[INFOTEXT] = comment_text(comment)
    return found


def comment_text(comment: bytes) -> str:
    """The text of a comment in EXIF: UTF-16 behind `UNICODE`, else ASCII or UTF-8."""
    code, text = comment[:CODE], comment[CODE:]
    return text.decode("utf-16-be" if code.startswith(b"UNICODE") else "utf-8", "replace").rstrip("\0")
