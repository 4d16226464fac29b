"""Reads the pictures of sd-webui-controlnet's units, in all the forms in which clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_base64, encode_image

from .unit import MaskedImage
from .values import plain, shown

PAIR = 2
FORMS = "expected base64, a data URL, {'image': ..., 'mask': ...}, [image, mask], or a list of these"


def read_images(image: Any, mask: Any, path: str) -> tuple[MaskedImage, ...]:
    """The pictures in a unit's `image`, with its `mask` as the mask of a single one.

    `path` is the unit's. Raises RequestError at its `image` or `mask`.
    """
    pictures = tuple(each for each in _listed(image, f"{path}.image") if each.image)
    covering = read_picture(mask, f"{path}.mask")
    if not covering:
        return pictures
    if len(pictures) != 1:
        found = "several pictures" if pictures else "no picture"
        raise RequestError(
            f"{path}.mask", f"is there with {found} in 'image': send {{'image', 'mask'}} pairs"
        )
    return (MaskedImage(image=pictures[0].image, mask=pictures[0].mask or covering),)


def read_picture(value: Any, path: str) -> str:
    """A picture or a mask as base64 or a data URL; empty for None and an empty text.

    Takes texts, NumPy arrays of uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], and PIL images. The pixels
    of texts are not decoded here. Raises RequestError at `path` for paths of files, URLs and other values.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if text:
            decode_base64(text, path)
        return text
    if isinstance(value, Image.Image):
        return encode_image(value)
    if hasattr(value, "__array_interface__"):
        return encode_image(_of_array(value, path))
    raise RequestError(path, f"{FORMS}, got {shown(value)}")


def _listed(value: Any, path: str) -> tuple[MaskedImage, ...]:
    """The pictures of a unit's `image`."""
    if not isinstance(value, (list, tuple)):
        return (_masked(value, path),)
    if not any(isinstance(each, (Mapping, list, tuple)) for each in value):
        return (_pair(value, path),)
    pictures = []
    for number, each in enumerate(value):
        place = f"{path}[{number}]"
        pictures.append(_pair(each, place) if isinstance(each, (list, tuple)) else _masked(each, place))
    return tuple(pictures)


def _masked(value: Any, path: str) -> MaskedImage:
    """A picture, or an object with `image` and `mask`."""
    if not isinstance(value, Mapping):
        return MaskedImage(image=read_picture(value, path))
    unknown = [str(name) for name in value if name not in ("image", "mask")]
    if unknown:
        raise RequestError(f"{path}.{unknown[0]}", "expected the fields 'image' and 'mask' alone")
    image, mask = (read_picture(plain(value.get(name)), f"{path}.{name}") for name in ("image", "mask"))
    if mask and not image:
        raise RequestError(f"{path}.image", "is empty, but there is a mask")
    return MaskedImage(image=image, mask=mask)


def _pair(value: list[Any] | tuple[Any, ...], path: str) -> MaskedImage:
    """A list of a picture, or of a picture and its mask."""
    if len(value) > PAIR:
        message = "a list of texts is one picture and its mask; write several as [{'image': ...}, ...]"
        raise RequestError(path, message)
    image, mask = (read_picture(each, f"{path}[{n}]") for n, each in enumerate((*value, None, None)[:PAIR]))
    if mask and not image:
        raise RequestError(f"{path}[0]", "is empty, but there is a mask")
    return MaskedImage(image=image, mask=mask)


def _of_array(value: Any, path: str) -> Image.Image:
    """The picture of a NumPy array. Raises RequestError for another kind of array."""
    interface = value.__array_interface__
    shape, kind = tuple(interface["shape"]), str(interface["typestr"])
    if len(shape) == 3 and shape[2] == 1:
        value, shape = value[:, :, 0], shape[:2]
    if kind != "|u1" or len(shape) not in (2, 3) or shape[2:] not in ((), (3,), (4,)) or 0 in shape:
        message = "expected an array of uint8 of the shape [H, W], [H, W, 3] or [H, W, 4]"
        raise RequestError(path, f"{message}, got {kind} of {list(shape)}")
    return Image.fromarray(value)
