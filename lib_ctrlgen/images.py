"""Pictures: decoding from a request, fitting to a size, tensors.

Requests carry pictures as base64 or data URLs only. Paths and URLs are refused:
a server must not read files or addresses that a client names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from .errors import RequestError
from .resampling import Resize, border_colour, resample

ResizeMode: TypeAlias = Literal["just_resize", "crop_and_resize", "resize_and_fill"]

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SEND = "send the picture itself, as base64 or a data URL (data:image/png;base64,...)"


def decode_image(text: str, path: str) -> Image.Image:
    """Decode base64 or a data URL into an RGB or RGBA image, upright by its EXIF.

    Sixteen-bit grey becomes eight-bit. Raises RequestError at `path` for a server path,
    a URL, a broken or unknown file, or more than 64 megapixels.
    """
    data = _decode_base64(text, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _require_size(image, path)
            return _normal_mode(ImageOps.exif_transpose(image))
    except RequestError:
        raise
    except Image.DecompressionBombError as error:
        raise RequestError(path, f"the picture is larger than {_LIMIT}") from error
    # Pillow's decoders raise many kinds of exceptions on broken data.
    except Exception as error:
        raise RequestError(
            path, f"no readable picture, and paths on the server are not read; {SEND}"
        ) from error


def picture_file(text: str, path: str) -> tuple[bytes, str]:
    """The file inside base64 or a data URL as it was sent, and the ending of its format, such as `png`.

    Raises RequestError at `path`.
    """
    data = _decode_base64(text, path)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return data, str(image.format or "png").lower()
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(path, f"no readable picture; {SEND}") from error


_LIMIT = f"{MAX_PIXELS // 1_000_000} megapixels; send a smaller one"


def _decode_base64(text: str, path: str) -> bytes:
    head = text[:64].lstrip().lower()
    if head.startswith(("http:", "https:", "file:", "ftp:")):
        raise RequestError(path, f"URLs are not read; {SEND}")
    if head.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.rstrip().lower().endswith(";base64"):
            raise RequestError(path, f"a data URL must be base64; {SEND}")
    compact = "".join(text.split())
    try:
        data = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(path, f"not base64, and paths on the server are not read; {SEND}") from error
    if not data:
        raise RequestError(path, f"the picture is empty; {SEND}")
    return data


def _require_size(image: Image.Image, path: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise RequestError(path, f"{image.width} x {image.height} is larger than {_LIMIT}")


def _normal_mode(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    transparent = (
        image.has_transparency_data
        if hasattr(image, "has_transparency_data")
        else (image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info)
    )
    return image.convert("RGBA" if transparent else "RGB")


def encode_image(image: Image.Image) -> str:
    """The picture as a PNG data URL."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_hash(image: Image.Image | str) -> str:
    """The first 12 hex digits of the SHA-256 of the decoded pixels, their mode and size.

    Independent of the file format. Raises RequestError for a text that is no picture.
    """
    picture = decode_image(image, "") if isinstance(image, str) else image
    normal = picture if picture.mode in {"RGB", "RGBA"} else _normal_mode(picture)
    head = f"{normal.mode} {normal.width} {normal.height} ".encode()
    return hashlib.sha256(head + normal.tobytes()).hexdigest()[:12]


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB; transparency becomes white, as the field does."""
    normal = _normal_mode(image)
    if normal.mode == "RGB":
        return normal
    white = Image.new("RGBA", normal.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, normal).convert("RGB")


def transparent(image: Image.Image) -> Image.Image | None:
    """White where the picture is less than half opaque, black elsewhere, as RGB; None where it never is."""
    normal = _normal_mode(image)
    if normal.mode == "RGB":
        return None
    found = normal.getchannel("A").point(lambda alpha: 255 * (alpha < 128))
    return found.convert("RGB") if found.getbbox() else None


def fit(image: Image.Image, width: int, height: int, resize_mode: ResizeMode) -> Image.Image:
    """Bring a control map to `width` x `height` pixels, as RGB. It stays a map: see `resampling.resample`."""
    return Image.fromarray(fit_pixels(np.asarray(to_rgb(image)), width, height, resize_mode, resample))


def fit_pixels(
    pixels: NDArray[Any], width: int, height: int, resize_mode: ResizeMode, resize: Resize
) -> NDArray[Any]:
    """Bring [H, W, ...] to [height, width, ...], resizing with `resize`.

    `just_resize` stretches. `crop_and_resize` covers the target and crops the centre.
    `resize_and_fill` fits inside and fills with the median colour of the border.
    """
    if resize_mode == "just_resize":
        return np.asarray(resize(pixels, width, height))
    own_height, own_width = pixels.shape[:2]
    scales = width / own_width, height / own_height
    scale = max(scales) if resize_mode == "crop_and_resize" else min(scales)
    resized = resize(pixels, _scaled(own_width, scale), _scaled(own_height, scale))
    canvas = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    canvas[:] = border_colour(pixels)
    _paste_centre(canvas, resized)
    return canvas


def filled(size: tuple[int, int], width: int, height: int) -> Image.Image:
    """White where `resize_and_fill` fills what a picture of `size` leaves free, as RGB."""
    scale = min(width / size[0], height / size[1])
    canvas = np.full((height, width, 3), 255, np.uint8)
    _paste_centre(canvas, np.zeros((_scaled(size[1], scale), _scaled(size[0], scale), 3), np.uint8))
    return Image.fromarray(canvas)


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _paste_centre(canvas: NDArray[Any], picture: NDArray[Any]) -> None:
    """Copy `picture` onto the middle of `canvas`; the part that does not fit is cut off."""
    to_y, from_y, rows = _overlap(canvas.shape[0], picture.shape[0])
    to_x, from_x, columns = _overlap(canvas.shape[1], picture.shape[1])
    part = picture[from_y : from_y + rows, from_x : from_x + columns]
    canvas[to_y : to_y + rows, to_x : to_x + columns] = part


def _overlap(outer: int, inner: int) -> tuple[int, int, int]:
    """Start in the outer, start in the inner, and length, of two centred intervals."""
    return max(0, (outer - inner) // 2), max(0, (inner - outer) // 2), min(outer, inner)


def to_hint(image: Image.Image) -> Tensor:
    """The picture as a float32 tensor [1, 3, H, W] in 0..1."""
    pixels = torch.from_numpy(np.array(to_rgb(image)))
    return pixels.permute(2, 0, 1)[None].float().div(255.0)


def to_grey(image: Image.Image) -> NDArray[np.float32]:
    """The brightness [H, W] in 0..1."""
    return np.asarray(to_rgb(image).convert("L"), np.float32) / np.float32(255)


def to_mask(image: Image.Image, height: int, width: int) -> Tensor:
    """The brightness as a float32 tensor [1, 1, height, width] in 0..1, resized by area."""
    grey = torch.from_numpy(np.array(to_rgb(image).convert("L")))
    mask = grey[None, None].float().div(255.0)
    return torch.nn.functional.interpolate(mask, (height, width), mode="area")
