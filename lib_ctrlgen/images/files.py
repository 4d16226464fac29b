"""Decodes and encodes pictures: file contents, base64 and data URLs, without importing torch.

Requests contain pictures as base64 or data URLs. Paths and URLs are refused, because a server must not read
files or addresses that a client names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from urllib.parse import unquote

import PIL
from PIL import Image, ImageOps

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.request.notices import Notices

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SEND = "send the picture itself, as base64 or a data URL (data:image/png;base64,...)"
UNREADABLE = f"; paths on the server are not read: {SEND}"
CONVERT = "convert it to PNG, JPEG or WebP"
ANIMATED = "has several frames or pages: only the first one is used"
URL_SAFE = str.maketrans("-_", "+/")  # the other alphabet of base64, in RFC 4648
BYTES_TEXTS = ("b'", 'b"')
WHITE_16 = 65535
UNSIGNED = 1
SAMPLE_FORMAT = 339  # the TIFF tag that tells signed from unsigned integers
# The first bytes of other kinds of files, and the error message for each.
OTHER_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"<!doctype html", "a web page: download the picture itself"),
    (b"<html", "a web page: download the picture itself"),
    (b"<svg", f"a drawing (SVG): {CONVERT}"),
    (b"<?xml", f"an XML file, perhaps a drawing (SVG): {CONVERT}"),
    (b"%pdf", f"a PDF: {CONVERT}"),
    (b"8bps", f"a Photoshop file: {CONVERT}"),
    (b"v/1\x01", "an OpenEXR file: convert it to a TIFF of floats, or to a 16-bit PNG"),
    (b"\x93numpy", "a NumPy array: save it as a TIFF of floats, or as a 16-bit PNG"),
    (b"\xff\x0a", f"a JPEG XL picture: {CONVERT}"),
    (b"\x00\x00\x00\x0cjxl ", f"a JPEG XL picture: {CONVERT}"),
    (b"pk\x03\x04", "a ZIP archive: unpack it"),
    (b"{", "JSON: a pose in OpenPose JSON can only be the picture of a unit"),
)


def decode_image(text: str, path: str, notices: Notices | None = None) -> Image.Image:
    """Decode base64 or a data URL into an image, turned upright by its EXIF data: RGB, RGBA, or F.

    F is grey of more than eight bits, as brightness in 0..1 (see `images.deep_greys`). Raises RequestError
    at `path` for a server path, a URL, a broken or unknown file, or more than 64 megapixels. Of an animated
    picture it returns the first frame, and says so in `notices`.
    """
    return decode_bytes(decode_base64(text, path), path, UNREADABLE, notices)


def decode_bytes(data: bytes, path: str, advice: str = "", notices: Notices | None = None) -> Image.Image:
    """Decode the bytes of a file as `decode_image` does; `advice` ends the error for an unreadable file."""
    try:
        with warnings.catch_warnings(), at_path(path):
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of TIFFs with damaged tags
            image = Image.open(io.BytesIO(data), formats=_formats(data))
            _require_size(image)  # by the file's header, before pixels are decoded
            upright = _upright(image)
            _require_size(upright)
            if notices is not None and _is_animated(image):
                notices.add(path, ANIMATED)
            return upright
    except RequestError:
        raise
    except Image.DecompressionBombError as error:
        raise RequestError(path, f"the picture is larger than {_LIMIT}") from error
    # Pillow's decoders raise many kinds of exceptions on broken data.
    except Exception as error:
        raise RequestError(path, f"no readable picture: {_reason(data, error)}{advice}") from error


def picture_file(text: str, path: str) -> tuple[bytes, str]:
    """The bytes of the file in base64 or a data URL, and the suffix of its format, such as `png`.

    Raises RequestError at `path`.
    """
    data = decode_base64(text, path)
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
            return data, str(image.format or "png").lower()
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(path, f"no readable picture: {_reason(data, error)}") from error


_LIMIT = f"{MAX_PIXELS // 1_000_000} megapixels; send a smaller one"


def _upright(image: Image.Image) -> Image.Image:
    """The picture as RGB, RGBA or F, turned upright by its EXIF data."""
    image.load()  # this turns a TIFF; older versions of Pillow leave its tag, and would turn it twice
    upright = image if image.format == "TIFF" else ImageOps.exif_transpose(image)
    return _grey(upright, image) if is_deep(image) else normal_mode(upright)


def _is_animated(image: Image.Image) -> bool:
    """Whether a file has several frames or pages; the second picture of an MPO is not one, but a preview."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than eight bits per pixel."""
    return image.mode == "F" or image.mode.startswith("I")


def _grey(upright: Image.Image, opened: Image.Image) -> Image.Image:
    """Convert a grey picture of more than 8 bits to mode F or RGB; `opened` has the file's mode and tags."""
    from .deep_greys import grey_of  # numpy, which quick commands do without

    sixteen = opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format == "PNG")
    tags = getattr(opened, "tag_v2", None)
    unsigned = tags is not None and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
    return grey_of(upright, WHITE_16 if sixteen else None, unsigned=unsigned)


def is_deep_text(text: str) -> bool:
    """Whether a data URL holds a grey picture of more than eight bits; the pixels are not decoded."""
    try:
        with Image.open(io.BytesIO(decode_base64(text, "")), formats=FORMATS) as image:
            return is_deep(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _formats(data: bytes) -> tuple[str, ...]:
    """The formats to try for a file; AVIF only for such a file, if this Pillow reads it."""
    return (*FORMATS, "AVIF") if _is_avif(data) and _reads_avif() else FORMATS


def _is_avif(data: bytes) -> bool:
    """Whether a file has one of AVIF's brands in its header."""
    return data[4:8] == b"ftyp" and any(brand in data[8:48] for brand in (b"avif", b"avis"))


def _reads_avif() -> bool:
    """Whether Pillow reads AVIF here: from 11.3 on, or with a plugin."""
    Image.init()
    return "AVIF" in Image.OPEN


def _reason(data: bytes, error: Exception) -> str:
    """The reason, for an error message, why bytes cannot be read as a picture."""
    start = data[:64].lstrip().lower()
    known = next((kind for begin, kind in OTHER_KINDS if start.startswith(begin)), None)
    if known is not None:
        return f"it is {known}"
    if _is_avif(data) and not _reads_avif():
        return f"it is AVIF, which Pillow {PIL.__version__} here does not read (11.3 does): {CONVERT}"
    if data[4:8] == b"ftyp" and not _is_avif(data):
        return f"it is HEIF or a video: {CONVERT}"
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"it is none of the kinds {', '.join(FORMATS)}"
    return f"it is damaged ({' '.join(str(error).split()) or type(error).__name__})"


def decode_base64(text: str, path: str) -> bytes:
    """Decode base64 or a data URL, in either alphabet, with line breaks and any or no padding."""
    head = text[:64].lstrip().lower()
    if head.startswith(("http:", "https:", "file:", "ftp:")):
        raise RequestError(path, f"URLs are not read; {SEND}")
    if head.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.rstrip().lower().endswith(";base64"):
            raise RequestError(path, f"a data URL must be base64; {SEND}")
        text = unquote(text)  # a URL may hold %2B and %3D
    compact = "".join(text.split()).rstrip("=").translate(URL_SAFE)
    try:
        data = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(path, _no_base64(head)) from error
    if not data:
        raise RequestError(path, f"the picture is empty; {SEND}")
    return data


def _no_base64(head: str) -> str:
    """The error message for a text that is no base64; `head` is its beginning."""
    if head.startswith(BYTES_TEXTS):
        return "is Python's str() of base64 bytes: send encoded.decode('ascii') instead of str(encoded)"
    return f"not base64, and paths on the server are not read; {SEND}"


def _require_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise RequestError("", f"{image.width} x {image.height} is larger than {_LIMIT}")


def normal_mode(image: Image.Image) -> Image.Image:
    """Convert to F if grey of more than 8 bits, to RGBA if it has transparency, else to RGB."""
    if is_deep(image):
        return _grey(image, image)
    transparent = (
        image.has_transparency_data
        if hasattr(image, "has_transparency_data")
        else (image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info)
    )
    return image.convert("RGBA" if transparent else "RGB")


def encode_image(image: Image.Image) -> str:
    """Encode a picture as a data URL: TIFF for mode F, else PNG."""
    kind = "TIFF" if image.mode == "F" else "PNG"
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_hash(image: Image.Image | str) -> str:
    """The first 12 hex digits of the SHA-256 of a picture's mode, size and decoded pixels.

    It does not depend on the file format. Raises RequestError for a text that holds no picture.
    """
    picture = decode_image(image, "") if isinstance(image, str) else image
    normal = picture if picture.mode in {"RGB", "RGBA"} else normal_mode(picture)
    head = f"{normal.mode} {normal.width} {normal.height} ".encode()
    return hashlib.sha256(head + normal.tobytes()).hexdigest()[:12]
