"""The pictures and masks of a unit of sd-webui-controlnet, as a unit of CtrlGen has them."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageOps

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image

from .unit import MaskedImage

LITTLE, MUCH = 5, 250  # a mask without values between them is not painted by hand


def on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB, its transparent pixels on white."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def channel(text: str, path: str) -> Image.Image:
    """A mask in a text as grey: the red channel of its picture on white. Raises RequestError at `path`."""
    return on_white(decode_image(text, path)).getchannel("R")


def encoded(picture: Image.Image) -> str:
    """A picture as base64 of a PNG."""
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=1)
    return base64.b64encode(written.getvalue()).decode("ascii")


def mask_of(given: MaskedImage, size: tuple[int, int], path: str) -> Image.Image | None:
    """The mask of a picture of `size` (width, height), grey; None without a mask.

    Raises RequestError below `path` for a mask of another size.
    """
    if not given.mask:
        return None
    mask = channel(given.mask, f"{path}.mask")
    if mask.size != size:
        wide, high = mask.size
        message = f"has {wide} x {high} pixels, and the picture {size[0]} x {size[1]}: they must be alike"
        raise RequestError(f"{path}.mask", message)
    return mask


def with_holes(given: MaskedImage, path: str) -> Image.Image:
    """The picture with transparent pixels where its mask is white. Raises RequestError below `path`."""
    picture = on_white(decode_image(given.image, f"{path}.image"))
    mask = mask_of(given, picture.size, path)
    if mask is not None:
        picture.putalpha(ImageOps.invert(mask))
    return picture


def seen(given: MaskedImage, path: str, *, ignore_mask: bool) -> Image.Image:
    """The picture that a preprocessor gets: the mask if it was painted by hand, else the picture itself.

    Raises RequestError below `path`.
    """
    picture = on_white(decode_image(given.image, f"{path}.image"))
    mask = mask_of(given, picture.size, path)
    if mask is None or ignore_mask:
        return picture
    values = mask.tobytes()
    painted = max(values) > LITTLE and min(values) < MUCH
    return mask.convert("RGB") if painted else picture


def size_of(given: MaskedImage, path: str) -> tuple[int, int]:
    """Width and height of a picture. Raises RequestError below `path`."""
    return decode_image(given.image, f"{path}.image").size
