"""Images are decoded, fitted to a size and converted to tensors."""

import base64
import io
import zlib
from contextlib import suppress
from urllib.parse import quote

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import to_hint, to_rgb
from lib_ctrlgen.images.files import decode_image, encode_image, image_hash
from lib_ctrlgen.images.masks import by_area, mask_values
from lib_ctrlgen.images.resize import count_colours, fit, has_thin_lines, thin
from lib_ctrlgen.request.unit import ResizeMode
from tests.support.control_files import picture

MODES: tuple[ResizeMode, ...] = ("just_resize", "crop_and_resize", "resize_and_fill")
sizes = st.integers(1, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    width, height, channels = draw(sizes), draw(sizes), draw(st.sampled_from([3, 4]))
    data = draw(st.binary(min_size=1, max_size=50))
    pixels = np.resize(np.frombuffer(data, np.uint8), (height, width, channels))
    return Image.fromarray(pixels)


@given(images())
def test_round_trip_is_exact(image: Image.Image) -> None:
    decoded = decode_image(encode_image(image), "$.image")
    assert decoded.mode == image.mode
    assert decoded.tobytes() == image.tobytes()
    assert image_hash(encode_image(image)) == image_hash(image) == image_hash(decoded)


def test_plain_base64_with_line_breaks_and_without_padding() -> None:
    text = encoded(picture(9, 7))
    broken_up = "\n".join(text[i : i + 60] for i in range(0, len(text), 60)).rstrip("=")
    assert decode_image(broken_up, "$").size == (9, 7)


@given(images())
def test_base64_of_any_spelling_is_the_picture(image: Image.Image) -> None:
    """The alphabet for URLs, padding that is missing or too long, and a data URL with escapes."""
    plain = encode_image(image).partition(",")[2]
    for_urls = plain.translate(str.maketrans("+/", "-_"))
    escaped = f"data:image/png;base64,{quote(plain, safe='')}"
    for text in (for_urls, for_urls.rstrip("="), f"{plain}==", escaped):
        assert image_hash(text) == image_hash(image)


def test_python_bytes_as_text_are_named() -> None:
    with pytest.raises(RequestError, match="decode"):
        decode_image(str(base64.b64encode(b"a picture")), "$.image")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_a_picture_or_a_request_error_at_the_path(text: str) -> None:
    with pytest.raises(RequestError) as raised:
        decode_image(text, "$.units[3].image")
    assert raised.value.path == "$.units[3].image"
    assert "base64" in raised.value.message


@given(st.integers(10, 400), st.integers(0, 255))
def test_damaged_png_is_a_picture_or_a_request_error(place: int, value: int) -> None:
    data = bytearray(base64.b64decode(encoded(picture(16, 16))))
    data[place % len(data)] = value
    with suppress(RequestError):
        assert decode_image(base64.b64encode(data).decode(), "$").mode in {"RGB", "RGBA", "F"}


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "C:\\pictures\\a.png",
        "../a.png",
        "http://host/a.png",
        "https://h/a",
        "file:///a.png",
        "",
    ],
)
def test_paths_and_urls_are_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(RequestError, match="as base64 or a data URL"):
        decode_image(text, "$.image")


def test_data_url_must_be_base64() -> None:
    with pytest.raises(RequestError, match="must be base64"):
        decode_image("data:image/svg+xml,<svg/>", "$.image")


@pytest.mark.parametrize("size", [(9000, 8000), (30000, 30000)])
def test_a_huge_picture_is_refused_before_it_is_unpacked(size: tuple[int, int]) -> None:
    header = encoded(Image.new("1", (1, 1)))
    data = bytearray(base64.b64decode(header))
    data[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    crc = zlib.crc32(bytes(data[12:29]))
    data[29:33] = crc.to_bytes(4, "big")
    with pytest.raises(RequestError, match="64 megapixels"):
        decode_image(base64.b64encode(data).decode(), "$")


def test_sixteen_bit_depth_maps_keep_their_range() -> None:
    depth = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert [p[0] for p in np.asarray(decode_image(encoded(depth), "$"))[0]] == [0, 1, 255]


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(picture(20, 10), "JPEG", exif=exif), "$").size == (10, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = picture(6, 5).convert("RGBA" if mode == "RGBA" else "RGB").convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert to_rgb(decode_image(encoded(image, kind), "$")).mode == "RGB"


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert to_rgb(clear).getpixel((0, 0)) == (255, 255, 255)


@given(images(), sizes, sizes, st.sampled_from(MODES))
def test_fit_gives_the_size_and_rgb(image: Image.Image, width: int, height: int, mode: ResizeMode) -> None:
    fitted = fit(image, width, height, mode)
    assert fitted.size == (width, height)
    assert fitted.mode == "RGB"


@given(st.sampled_from(MODES))
def test_fit_to_its_own_size_changes_nothing(mode: ResizeMode) -> None:
    image = picture(24, 16)
    assert fit(image, 24, 16, mode).tobytes() == image.tobytes()


def test_crop_keeps_the_middle_and_fill_keeps_everything() -> None:
    image = Image.new("RGB", (30, 10), (0, 0, 255))
    image.paste((255, 0, 0), (10, 0, 20, 10))
    assert {c for _, c in fit(image, 10, 10, "crop_and_resize").getcolors() or []} == {(255, 0, 0)}
    filled = fit(image, 30, 30, "resize_and_fill")
    assert filled.getpixel((15, 15)) == (255, 0, 0)
    assert filled.getpixel((15, 0)) == (0, 0, 255), "the median colour of the border"


@given(st.integers(8, 60), st.integers(8, 60))
def test_a_segmentation_keeps_its_colours(width: int, height: int) -> None:
    image = Image.new("RGB", (32, 32), (10, 20, 30))
    draw = ImageDraw.Draw(image)
    for i in range(5):
        draw.rectangle((4 * i, 3 * i, 4 * i + 8, 3 * i + 9), fill=(40 * i, 255 - 40 * i, 7))
    old = {colour for _, colour in image.getcolors() or []}
    new = {colour for _, colour in fit(image, width, height, "just_resize").getcolors() or []}
    assert new <= old


@given(st.integers(20, 90), st.integers(20, 90))
def test_a_binary_map_stays_binary(width: int, height: int) -> None:
    image = Image.new("RGB", (40, 40))
    ImageDraw.Draw(image).ellipse((5, 8, 30, 33), fill="white")
    fitted = np.asarray(fit(image, width, height, "just_resize"))
    assert set(np.unique(fitted)) == {0, 255}


@pytest.mark.parametrize("size", [50, 100, 150, 200, 400])
def test_thin_lines_stay_thin_and_whole(size: int) -> None:
    image = Image.new("RGB", (100, 100))
    ImageDraw.Draw(image).ellipse((12, 22, 85, 75), outline="white")
    fitted = np.asarray(fit(image, size, size, "just_resize"))[..., 0] > 0
    assert has_thin_lines(np.repeat(fitted[..., None], 3, 2).astype(np.uint8) * 255)
    perimeter = 200 * size / 100
    assert 0.7 * perimeter < fitted.sum() < 1.3 * perimeter
    angles = np.arctan2(*(np.argwhere(fitted) - size * 0.485).T)
    assert len(np.unique((angles * 18 / np.pi).round())) >= 35, "no side of the ellipse is lost"


def test_thinning_reduces_a_bar_to_a_line() -> None:
    bar = np.zeros((20, 40), np.bool_)
    bar[8:13, 5:35] = True
    line = thin(bar)
    assert line.sum(axis=0).max() == 1
    assert line.sum() > 22
    assert not (line & ~bar).any()


def test_count_of_colours_stops_at_the_limit() -> None:
    pixels = np.arange(300 * 3, dtype=np.uint16).reshape(10, 30, 3).astype(np.uint8)
    assert count_colours(pixels, 5) == 5
    assert count_colours(np.zeros((4, 4, 3), np.uint8), 200) == 1


def test_photos_shrink_by_area() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    small = np.asarray(fit(Image.fromarray(pixels), 32, 32, "just_resize"), np.float64)
    mean = pixels.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).max() <= 1


def test_hint_and_mask_tensors() -> None:
    image = Image.new("RGB", (4, 2), (255, 0, 51))
    hint = to_hint(image)
    assert hint.shape == (1, 3, 2, 4)
    assert torch.allclose(hint[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 4, 8))
    assert by_area(mask_values(mask), (2, 4)).tolist() == [[[[1, 1, 0, 0], [1, 1, 0, 0]]]]
    assert by_area(mask_values(mask), (1, 1)).item() == 0.5
