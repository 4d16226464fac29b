"""Grey images of more than eight bits keep their depth up to the network; unreadable files are refused."""

import base64
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.images import files as picture_files
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_bytes, decode_image, encode_image, image_hash, is_deep_text
from lib_ctrlgen.images.resize import resample_grey
from lib_ctrlgen.models.sizes import tensor_sizes
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files

RAMP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def data_of(image: Image.Image, kind: str = "TIFF", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def unsigned(values: np.ndarray) -> bytes:
    """A TIFF of unsigned 32-bit integers: Pillow writes signed ones, so the tag is changed."""
    data = bytearray(data_of(Image.fromarray(values.astype(np.uint32).view(np.int32))))
    tag = bytes(data).find(struct.pack("<HHI", 339, 3, 1))
    data[tag + 8] = 1
    return bytes(data)


DEPTHS = {
    "floats in 0..1": data_of(Image.fromarray(RAMP)),
    "floats in metres": data_of(Image.fromarray(RAMP * 38 + 2)),
    "floats in -1..1": data_of(Image.fromarray(RAMP * 2 - 1)),
    "16-bit PNG": data_of(Image.fromarray((RAMP * 65535).round().astype(np.uint16)), "PNG"),
    "16-bit TIFF": data_of(Image.fromarray((RAMP * 65535).round().astype(np.uint16))),
    "32-bit millimetres": data_of(Image.fromarray((RAMP * 40_000 + 500).round().astype(np.int32))),
    "32-bit with negative values": data_of(Image.fromarray(((RAMP - 0.5) * 2e9).astype(np.int32))),
    "32-bit unsigned": unsigned(RAMP.astype(np.float64) * 4e9),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_a_depth_map_of_any_kind_keeps_its_range_and_precision(name: str) -> None:
    found = decode_bytes(DEPTHS[name], "$.image")
    assert found.mode == "F"
    assert np.abs(np.asarray(found) - RAMP).max() < 2e-5
    assert np.abs(np.asarray(to_rgb(found), np.float32)[..., 1] / 255 - RAMP).max() < 0.51 / 255
    text = encode_image(found)
    assert image_hash(text) == image_hash(found)
    assert is_deep_text(text)
    assert not is_deep_text(encode_image(to_rgb(found)))


@given(arrays.arrays(np.uint8, (3, 5)))
def test_what_eight_bits_hold_is_the_eight_bit_picture(pixels: np.ndarray) -> None:
    plain = image_hash(Image.fromarray(pixels))
    assert image_hash(decode_bytes(data_of(Image.fromarray(pixels.astype(np.uint16) * 257)), "$")) == plain
    floats = Image.fromarray(pixels.astype(np.float32) / 255)
    assert image_hash(decode_bytes(data_of(floats), "$")) == plain


@given(st.integers(0, 65534))
def test_maps_that_differ_below_eight_bits_have_different_hashes(value: int) -> None:
    pair = [Image.fromarray(np.array([[0, value + k, 65535]], np.uint16)) for k in (0, 1)]
    assert image_hash(pair[0]) != image_hash(pair[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    holed = RAMP.copy()
    holed[0, :3] = value
    with pytest.raises(RequestError, match="3 of its 4096 values are not numbers") as caught:
        decode_bytes(data_of(Image.fromarray(holed)), "$.units[0].image")
    assert caught.value.path == "$.units[0].image"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_deep_picture_is_turned_once(kind: str) -> None:
    pixels = (RAMP[:4, :8] * 65535).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {"exif": exif} if kind == "PNG" else {"tiffinfo": {0x0112: 6}}
    found = decode_bytes(data_of(Image.fromarray(pixels), kind, **turned), "$")
    assert np.asarray(found) * 65535 == pytest.approx(np.rot90(pixels, -1), abs=0.01)


def test_resizing_invents_no_level_of_a_map_of_few_and_stays_in_range() -> None:
    few = np.array([0.001, 0.3, 0.7004, 0.9])[np.arange(64) // 16].astype(np.float32)
    assert set(np.unique(resample_grey(np.tile(few, (64, 1)), 40, 90))) <= set(few)
    step = np.where(RAMP > 0.5, np.float32(0.9999), RAMP)
    grown = resample_grey(step, 200, 200)
    assert grown.shape == (200, 200)
    assert 0 <= grown.min() <= grown.max() <= 1


def test_a_float_picture_is_counted_with_all_its_bytes() -> None:
    assert sum(tensor_sizes(Image.fromarray(RAMP)).values()) == RAMP.nbytes


class Folder:
    """Models of two kinds, and what their networks see."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ModelStore([root], 1 << 30)

    def save(self, channels: int) -> None:
        network = files.controlnet(1)
        config = {**network.config, "conditioning_channels": channels}
        made = files.random_weights(type(network).from_config(config))
        save_file(made.state_dict(), self.root / f"net{channels}.safetensors")

    def load(self, model: str, image: str, **fields: Any) -> Any:
        request = parse_request({"units": [{"model": model, "image": image, **fields}]})
        return load_units(request.units, Target(store=self.store, shape=files.shape()))[0].control


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    made = Folder(tmp_path_factory.mktemp("models"))
    for channels in (1, 3, 4, 6):
        made.save(channels)
    save_file(files.t2i_adapter().state_dict(), made.root / "t2i.safetensors")
    return made


DEEP = "data:image/tiff;base64," + base64.b64encode(DEPTHS["16-bit TIFF"]).decode()


@pytest.mark.parametrize("model", ["net3", "net1", "t2i"])
def test_the_network_sees_every_level(folder: Folder, model: str) -> None:
    control = folder.load(model, DEEP)
    channels = 1 if model == "net1" else 3
    seen = control.map.pixels(64, 64, channels)
    assert seen.shape == (1, channels, 64, 64)
    assert len(seen.unique()) == 4096
    assert np.abs(seen[0, 0].numpy() - RAMP).max() < 2e-5
    assert control.control_map(64, 64).mode == "RGB"
    smaller = control.map.pixels(40, 24, channels)
    assert smaller.shape == (1, channels, 24, 40)
    assert len(smaller.unique()) > 255


def test_a_deep_map_and_its_eight_bit_copy_are_two_maps(folder: Folder) -> None:
    call = files.call()
    plain = folder.load("net3", encode_image(to_rgb(decode_image(DEEP, "")))).residuals(call).mid
    deep = folder.load("net3", DEEP).residuals(call).mid
    assert not torch.equal(plain, deep)
    assert torch.allclose(plain, deep, atol=0.05 * float(plain.abs().max()))


def test_with_a_preprocessor_eight_bits_do(folder: Folder) -> None:
    control = folder.load("net3", DEEP, preprocessor="invert")
    assert len(control.map.pixels(64, 64).unique()) == 256


def test_a_network_of_one_channel_sees_brightness(folder: Folder) -> None:
    red = encode_image(Image.new("RGB", (64, 64), (255, 0, 0)))
    control = folder.load("net1", red)
    assert control.map.pixels(64, 64, 1).unique().tolist() == pytest.approx([0.299], abs=0.003)
    assert torch.isfinite(control.residuals(files.call()).mid).all()


@pytest.mark.parametrize("channels", [4, 6])
def test_a_network_of_other_channels_says_what_it_reads(folder: Folder, channels: int) -> None:
    with pytest.raises(RequestError, match=f"reads control maps of {channels} channels") as caught:
        folder.load(f"net{channels}", files.data_url())
    assert caught.value.path == "$.units[0].model"


AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUI="  # the head of a file alone
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x93NUMPY\x01\x00", "save it as a TIFF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIF"),
        (b"hello", "none of the kinds PNG"),
        (data_of(files.picture(), "PNG")[:-400], "damaged"),
    ],
)
def test_a_file_that_is_no_picture_is_named_with_the_true_reason(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "edges.png").write_bytes(data)
    job = tmp_path / "job.yaml"
    job.write_text("prompt: x\nunits: [{model: m, image: edges.png}]\n")
    with pytest.raises(RequestError, match=words) as caught:
        read_job(job)
    assert caught.value.path == "$.units[0].image"
    assert str(tmp_path / "edges.png") in caught.value.message
    assert "base64" not in caught.value.message
    with pytest.raises(RequestError, match=words):
        decode_image(base64.b64encode(data).decode(), "$.image")


def test_a_name_without_a_dot_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "circle").write_bytes(data_of(files.picture(), "PNG"))
    job = tmp_path / "job.yaml"
    job.write_text("units: [{model: m, image: circle, mask: squares/none}]\n")
    with pytest.raises(RequestError, match="No such file") as caught:
        read_job(job)
    assert caught.value.path == "$.units[0].mask"
    assert "squares" in caught.value.message
    plain = base64.b64encode(data_of(files.picture(), "PNG")).decode()
    job.write_text(f"units: [{{model: m, image: circle, mask: {plain}}}]\n")
    unit = read_job(job).request.units[0]
    assert image_hash(unit.image) == image_hash(unit.mask) == image_hash(files.picture())


def test_avif_where_pillow_reads_it_and_else_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    if picture_files._reads_avif():
        found = decode_bytes(data_of(files.picture(), "AVIF"), "$")
        assert np.abs(np.asarray(found, int) - np.asarray(files.picture(), int)).mean() < 8
        with pytest.raises(RequestError, match=r"damaged|none of the kinds"):
            decode_bytes(AVIF, "$")
    monkeypatch.setattr(picture_files, "_reads_avif", lambda: False)
    with pytest.raises(RequestError, match=f"AVIF, which Pillow {PIL.__version__} here does not read"):
        decode_bytes(AVIF, "$")
