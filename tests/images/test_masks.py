"""A mask means the same from every source: a grey image, an alpha channel, a file or a request."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from lib_ctrlgen.blending.masks import check_pictures, concept_masks
from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.masks import mask_values
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.effects.base import at_latent
from tests.support import control_files as files

LEFT = np.zeros((64, 64), np.uint8)
LEFT[:, :32] = 255
BLACK = encode_image(Image.new("RGB", (64, 64)))
CLEAR = encode_image(Image.new("RGBA", (64, 64), (255, 255, 255, 0)))


def rgba(colour: Any, alpha: np.ndarray) -> Image.Image:
    """A picture of a colour, or of colours [H, W, 3], with an alpha channel [H, W]."""
    colours = np.broadcast_to(np.asarray(colour, np.uint8), (*alpha.shape, 3))
    return Image.fromarray(np.dstack([colours, alpha]))


def paletted() -> Image.Image:
    """A GIF of one colour, transparent on the right."""
    image = Image.new("P", (64, 64), 1)
    image.putpalette([9, 9, 9, 255, 255, 255])
    ImageDraw.Draw(image).rectangle((32, 0, 63, 63), fill=0)
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=0)
    return Image.open(io.BytesIO(buffer.getvalue()))


def lossy() -> Image.Image:
    buffer = io.BytesIO()
    rgba((20, 90, 160), LEFT).save(buffer, "WEBP", quality=60)
    return Image.open(io.BytesIO(buffer.getvalue()))


DRAWN_LEFT = {
    "grey": Image.fromarray(LEFT),
    "black with alpha": rgba((0, 0, 0), LEFT),
    "white with alpha": rgba((255, 255, 255), LEFT),
    "a colour with alpha": rgba((200, 30, 90), LEFT),
    "another colour where nothing is seen": rgba(np.where(LEFT[..., None] > 0, 0, [255, 255, 255]), LEFT),
    "black and white, outside transparent": rgba(
        np.repeat(LEFT[..., None], 3, 2), np.pad(np.full((60, 60), 255, np.uint8), 2)
    ),
    "opaque RGBA": Image.fromarray(LEFT).convert("RGBA"),
    "grey with alpha": Image.merge("LA", [Image.new("L", (64, 64), 70), Image.fromarray(LEFT)]),
    "palette": paletted(),
    "lossy": lossy(),
    "16 bit": Image.fromarray(LEFT.astype(np.uint16) * 257),
    "floats": Image.fromarray(LEFT.astype(np.float32)),
}


@pytest.mark.parametrize("name", DRAWN_LEFT)
def test_the_left_half_drawn_in_any_way_is_the_left_half(name: str) -> None:
    picture = DRAWN_LEFT[name]
    inner = (slice(4, 60), slice(4, 60))
    assert np.abs(mask_values(picture)[inner] - (LEFT / 255.0)[inner]).max() < 0.02
    blend = {"concepts": [{"prompt": "a"}, {"prompt": "b", "mask": as_text(picture)}]}
    masks = concept_masks(parse_request({"blend": blend}).blend, 64, 64)  # type: ignore[arg-type]
    assert masks is not None
    assert masks[1, 0, 4, 1:7].tolist() == pytest.approx([1, 1, 1, 0, 0, 0], abs=0.02)


def as_text(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    kind = "TIFF" if picture.mode == "F" else "PNG"
    picture.save(buffer, kind, **({"transparency": 0} if picture.mode == "P" else {}))
    return encode_image(Image.open(io.BytesIO(buffer.getvalue())))


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_brightness_times_opacity_where_both_vary(bright: int, alpha: int, other: int) -> None:
    pixels = np.array([[[255, 255, 255, 255], [0, 0, 0, 255], [bright] * 3 + [alpha], [other] * 3 + [0]]])
    found = mask_values(Image.fromarray(pixels.astype(np.uint8)))[0]
    assert found.tolist() == pytest.approx([1, 0, bright * alpha / 65025, 0], abs=1e-6)


def test_a_uniform_opacity_is_no_drawing() -> None:
    assert mask_values(rgba((0, 0, 0), np.full((4, 4), 255, np.uint8))).max() == 0
    half = mask_values(rgba((255, 255, 255), np.full((4, 4), 128, np.uint8)))
    assert half == pytest.approx(128 / 255)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("models")
    save_file(files.controlnet(1).state_dict(), folder / "net.safetensors")
    return ModelStore([folder], 1 << 30)


def unit(store: ModelStore, notices: Notices | None = None, pictures: int = 1, **fields: Any) -> Any:
    request = parse_request({"units": [{"model": "net", "image": files.data_url(64, 64, 3), **fields}]})
    host: Any = {"canvas": Canvas(pictures=pictures), "notices": notices or Notices()}
    return load_units(request.units, Target(store=store, shape=files.shape(), **host))


@pytest.mark.parametrize("name", ["black with alpha", "black and white, outside transparent"])
def test_a_units_mask_is_read_the_same(store: ModelStore, name: str) -> None:
    (loaded,) = unit(store, mask=as_text(DRAWN_LEFT[name]))
    found = at_latent(loaded, loaded.mask, (8, 8))[0, 0, 4, 1:7]
    assert found.tolist() == pytest.approx([1, 1, 1, 0, 0, 0], abs=0.02)


@pytest.mark.parametrize("mask", [BLACK, CLEAR])
def test_a_mask_that_leaves_nothing_is_a_mistake(store: ModelStore, mask: str) -> None:
    with pytest.raises(RequestError, match="black everywhere") as caught:
        unit(store, mask=mask)
    assert caught.value.path == "$.units[0].mask"
    unit(store, mask=mask, mask_strength="1@0, 0@1")  # it holds back less and less
    concepts = [{"prompt": "a"}, {"prompt": "b", "mask": mask}]
    with pytest.raises(RequestError, match="black everywhere") as caught:
        check_pictures(parse_request({"blend": {"concepts": concepts}}).blend)  # type: ignore[arg-type]
    assert caught.value.path == "$.blend.concepts[1].mask"


def test_one_black_mask_of_several_is_a_warning(store: ModelStore) -> None:
    notices, white = Notices(), encode_image(Image.new("RGB", (64, 64), "white"))
    unit(store, notices, pictures=2, masks=[white, BLACK])
    (text,) = notices.of()
    assert text.startswith("$.units[0].masks[1]: is black everywhere")
    with pytest.raises(RequestError, match="black everywhere") as caught:
        unit(store, pictures=2, masks=[BLACK, BLACK])
    assert caught.value.path == "$.units[0].masks"
