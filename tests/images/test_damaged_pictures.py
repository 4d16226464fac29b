"""A fuzzer of the decoder: whatever a file holds, it is a picture within the limit, or a RequestError."""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images import files as decoder
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.control_pictures import decode_control_bytes
from lib_ctrlgen.images.files import ANIMATED, decode_bytes, encode_image
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.notices import Notices
from tests.support.control_files import picture
from tests.support.properties import examples

LIMIT = 4096  # pixels, in these tests
PHOTO = picture(24, 16)
GREY = Image.fromarray(np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16))
FLOATS = Image.fromarray(np.linspace(0, 1, 24 * 16, dtype=np.float32).reshape(16, 24))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(PHOTO, "JPEG", exif=exif)


def moving(kind: str) -> bytes:
    return saved(PHOTO, kind, save_all=True, append_images=[picture(24, 16, 1)])


WHOLE: Mapping[str, Callable[[], bytes]] = {
    "png": lambda: saved(PHOTO, "PNG"),
    "png, palette": lambda: saved(PHOTO.convert("P"), "PNG", transparency=3),
    "png, alpha": lambda: saved(PHOTO.convert("RGBA"), "PNG"),
    "png, 16 bits": lambda: saved(GREY, "PNG"),
    "png, moving": lambda: moving("PNG"),
    "jpeg": lambda: saved(PHOTO, "JPEG"),
    "jpeg, progressive": lambda: saved(PHOTO, "JPEG", progressive=True),
    "jpeg, cmyk": lambda: saved(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg, turned": turned,
    "webp": lambda: saved(PHOTO, "WEBP"),
    "webp, lossless": lambda: saved(PHOTO.convert("RGBA"), "WEBP", lossless=True),
    "webp, moving": lambda: moving("WEBP"),
    "bmp": lambda: saved(PHOTO, "BMP"),
    "gif": lambda: saved(PHOTO, "GIF"),
    "gif, moving": lambda: moving("GIF"),
    "tiff": lambda: saved(PHOTO, "TIFF"),
    "tiff, packed": lambda: saved(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff, cmyk": lambda: saved(PHOTO.convert("CMYK"), "TIFF"),
    "tiff, floats": lambda: saved(FLOATS, "TIFF"),
    "tiff, pages": lambda: moving("TIFF"),
    "json": lambda: b'{"people": [], "canvas_width": 8, "canvas_height": 8}',
}
Image.init()
if "AVIF" in Image.SAVE:  # Pillow 11.3 and later
    WHOLE = {**WHOLE, "avif": lambda: saved(PHOTO, "AVIF")}
SEVERAL = {"png, moving", "webp, moving", "gif, moving", "tiff, pages"}


@lru_cache(maxsize=len(WHOLE))
def whole(kind: str) -> bytes:
    return WHOLE[kind]()


@pytest.fixture(autouse=True, scope="module")
def small_limit() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "MAX_PIXELS", LIMIT)
        yield


def decoded(data: bytes) -> None:
    """Decode a file: a picture of a usual mode within the limit, a pose, or a RequestError at the path."""
    try:
        found: Any = decode_control_bytes(data, "$.image")
    except RequestError as error:
        found = error
    if isinstance(found, RequestError):
        assert found.path.startswith("$.image")
        assert found.message
    elif not isinstance(found, Pose):
        assert found.mode in {"RGB", "RGBA", "F"}
        assert 0 < found.width * found.height <= LIMIT
        assert to_rgb(found).size == found.size


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "json"])
def test_whole_files_are_pictures_of_the_right_size(kind: str) -> None:
    notices = Notices()
    found = decode_bytes(whole(kind), "$.image", notices=notices)
    assert found.size == ((16, 24) if kind == "jpeg, turned" else (24, 16))
    assert notices.of() == ((f"$.image: {ANIMATED}",) if kind in SEVERAL else ())
    if kind in SEVERAL:
        off = np.abs(np.asarray(found.convert("RGB")).astype(int) - np.asarray(PHOTO)).mean()
        assert off < 40, "it is the first frame"
    assert decode_bytes(whole(kind), "").tobytes() == found.tobytes()


@examples(120)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_files(kind: str, data: st.DataObject) -> None:
    """Some bytes changed, most of them in the header, and perhaps the end cut off."""
    content = bytearray(whole(kind))
    places = st.one_of(st.integers(0, min(63, len(content) - 1)), st.integers(0, len(content) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        content[place] = value
    decoded(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))


@examples(60)
@given(st.sampled_from(sorted(WHOLE)), st.binary(max_size=200), st.integers(1, 40))
@example("png", b"", 8)
@example("json", b"[" * 5000, 1)
def test_random_bytes_behind_the_start_of_a_file(kind: str, rest: bytes, kept: int) -> None:
    decoded(whole(kind)[:kept] + rest)
    decoded(rest)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_picture_over_the_limit_is_refused_without_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(Image.new("RGB", (80, 60)), kind)
    monkeypatch.setattr(decoder, "_upright", lambda _image: pytest.fail("it was decoded"))
    with pytest.raises(RequestError, match="80 x 60 is larger"):
        decode_bytes(data, "$.image")


def test_modes_keep_their_colours() -> None:
    """CMYK and palette are converted, 16 bits and floats keep their precision."""
    for kind in ("tiff, cmyk", "jpeg, cmyk"):
        off = np.asarray(decode_bytes(whole(kind), "")).astype(int) - np.asarray(PHOTO)
        assert np.abs(off).mean() < 40
    for kind in ("png, 16 bits", "tiff, floats"):
        values = np.asarray(decode_bytes(whole(kind), ""))
        assert values.dtype == np.float32
        assert len(np.unique(values)) > 256
        assert decode_bytes(whole(kind), "").tobytes() == values.tobytes()
    assert encode_image(FLOATS).startswith("data:image/tiff")
