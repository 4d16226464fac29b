"""Units in img2img: the crop of "Only masked", the img2img pictures, and the holes of the mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms import unit_fields
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.resize import fit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.session.effects.base import at_latent
from lib_ctrlgen.webui.sampling.init_images import picture_count
from tests.support import control_files as files
from tests.support.fake_webui import FakeWebUI, Processing
from tests.support.inpainting import GIVEN, INIT, OTHER, fresh_painted, img2img, masked, rectangle


def units_of(p: Any, folder: Path, *units: dict[str, Any]) -> list[ActiveUnit]:
    """A request's units, loaded for a generation as the script loads them."""
    painted = fresh_painted()
    said = {"units": [{"model": "net", "preprocessor": "none", **unit} for unit in units]}
    request = unit_fields.read_request([said], p.init_images, picture_count(p))
    store = ModelStore([folder], 1 << 30)
    return list(
        load_units(
            request.units,
            Target(store=store, shape=files.shape(), canvas=painted.canvas_of(p, picture_count(p))),
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("net", "net_inpaint"):
        tensors = {k: v.contiguous() for k, v in files.controlnet_tensors().items()}
        save_file(tensors, root / f"{name}.safetensors")
    return root


def grown(low: int, high: int, more: int, limit: int) -> tuple[int, int]:
    return max(0, low - more), min(limit, high + more)


@pytest.mark.parametrize("blur", [(0, 0), (4, 4), (0, 8), (2, 0)])
@pytest.mark.parametrize("padding", [0, 8])
def test_the_part_is_the_blurred_masks_box_grown_to_the_generations_proportions(
    host: FakeWebUI, script: Any, blur: tuple[int, int], padding: int
) -> None:
    """The box, grown by the reach of the blur and the padding; then the shorter side, about its middle."""
    p = img2img(host, rectangle((30, 20, 50, 28)), mask_blur_x=blur[0], mask_blur_y=blur[1])
    p.inpaint_full_res_padding, p.width, p.height = padding, 64, 64
    reach = [int(2.5 * sigma + 0.5) if sigma else 0 for sigma in blur]
    left, right = grown(30, 50, reach[0] + padding, 96)
    top, bottom = grown(20, 28, reach[1] + padding, 80)
    more = (right - left) - (bottom - top)
    if more > 0:
        top, bottom = top - more // 2, bottom + more - more // 2
        top, bottom = (0, bottom - top) if top < 0 else (top, bottom)
    else:
        left, right = left - -more // 2, right + -more - -more // 2
    canvas = fresh_painted().canvas_of(p, 1)
    assert canvas.crop.box == (left, top, right, bottom)
    assert canvas.crop.whole == (96, 80)
    assert canvas.img2img


def test_an_inverted_mask_a_blank_one_and_the_whole_picture(host: FakeWebUI, script: Any) -> None:
    painted = fresh_painted()
    hollow = rectangle((0, 0, 96, 80))
    hollow.paste(0, (40, 30, 60, 50))
    plain = {"mask_blur_x": 0, "mask_blur_y": 0, "width": 64, "height": 64}
    inverted = painted.canvas_of(img2img(host, hollow, inpainting_mask_invert=1, **plain), 1)
    assert inverted.crop.box == (40, 30, 60, 50)
    assert inverted.mask.getpixel((50, 40)) == 255
    blank = painted.canvas_of(img2img(host, rectangle((0, 0, 0, 0)), **plain), 1)
    assert blank == Canvas(pictures=1, img2img=True)
    whole = painted.canvas_of(img2img(host, hollow, inpaint_full_res=False, **plain), 1)
    assert whole.crop is None
    assert whole.mask.tobytes() == hollow.tobytes()
    clear = Image.new("RGBA", (96, 80), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 8, 16, 16))
    assert painted.canvas_of(img2img(host, clear, **plain), 1).crop.box == (8, 8, 16, 16)
    assert painted.canvas_of(img2img(host, None), 1) == Canvas(pictures=1, img2img=True)
    assert picture_count(Processing(host, batch_size=2, n_iter=3)) == 6
    assert painted.canvas_of(Processing(host), 6) == Canvas(pictures=6)
    assert painted.canvas_of(Processing(host, batch_size=2, n_iter=3), 6) == Canvas(pictures=6, together=2)


PART = (24, 8, 88, 72)


@pytest.mark.parametrize("mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
def test_a_given_picture_and_its_mask_are_cut_to_the_part(
    host: FakeWebUI, script: Any, folder: Path, mode: Any
) -> None:
    mask = rectangle((0, 0, 48, 80))
    (unit,) = units_of(
        masked(host), folder, {"image": encode_image(GIVEN), "mask": encode_image(mask), "resize_mode": mode}
    )
    wanted = fit(GIVEN, 96, 80, mode).crop(PART)
    assert unit.control.control_map(64, 64).tobytes() == wanted.tobytes()
    cells = at_latent(unit, unit.mask, (8, 8))[0, 0]
    assert cells[:, :3].eq(1).all(), "the left half of the whole: 48 pixels, of which the part has 24"
    assert cells[:, 3:].eq(0).all()


def test_a_unit_may_keep_its_picture_for_the_part_itself(host: FakeWebUI, script: Any, folder: Path) -> None:
    given = {"image": encode_image(GIVEN), "mask": encode_image(rectangle((0, 0, 32, 64), (64, 64)))}
    (unit,) = units_of(masked(host), folder, given | {"inpaint_crop": False, "resize_mode": "just_resize"})
    assert unit.control.control_map(64, 64).tobytes() == fit(GIVEN, 64, 64, "just_resize").tobytes()
    assert at_latent(unit, unit.mask, (8, 8))[0, 0].sum(0).tolist() == [8] * 4 + [0] * 4


def test_detection_runs_on_the_part_at_the_generations_size(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    low = {"low_threshold": 10, "high_threshold": 20}
    unit = {"image_from": "init", "preprocessor": "canny", "params": low}
    (found,) = units_of(masked(host, width=128, height=128), folder, unit)
    part = np.asarray(INIT.crop(PART))
    import cv2

    from lib_ctrlgen.preprocessors.canny import Canny

    larger = Image.fromarray(cv2.resize(part, (128, 128), interpolation=cv2.INTER_CUBIC))
    assert found.control.control_map(128, 128).tobytes() == Canny()(larger, **low).tobytes()


def test_the_inpainting_mask_is_holes_in_the_init_image_alone(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    """An inpainting ControlNet sees c (1 - m) - m; others and given pictures see no holes."""
    p = img2img(host, rectangle((40, 24, 64, 48)), inpaint_full_res=False, width=96, height=80)
    p.mask_blur_x = p.mask_blur_y = 3
    clear = INIT.convert("RGBA")
    clear.putalpha(Image.eval(rectangle((0, 0, 8, 8)), lambda value: 255 - value))
    units = units_of(
        p,
        folder,
        {"model": "net_inpaint", "image_from": "init"},
        {"model": "net", "image_from": "init"},
        {"model": "net_inpaint", "image": encode_image(INIT)},
        {"model": "net_inpaint", "image": encode_image(clear)},
    )
    seen = [unit.control.map.pixels(96, 80)[0] for unit in units]  # type: ignore[union-attr]
    picture = torch.from_numpy(np.array(INIT)).permute(2, 0, 1) / 255
    m = torch.zeros(1, 80, 96)
    m[:, 24:48, 40:64] = 1
    holes = seen[0].eq(-1).all(0)
    inner, outer = holes[26:46, 42:62], holes.clone()
    outer[22:50, 38:66] = False
    assert inner.all()
    assert not outer.any()
    wide = (holes != m[0].bool()).sum()
    assert wide <= 40, "a blurred straight border stays where it is, a corner of 24 pixels loses a few"
    assert torch.allclose(seen[0][:, ~holes], picture[:, ~holes])
    assert torch.allclose(seen[1], picture)
    assert torch.allclose(seen[2], picture)
    assert seen[3][:, :8, :8].eq(-1).all()
    assert not seen[3][:, 24:48, 40:64].eq(-1).any(), "a picture's own transparency comes first"


def test_the_own_transparency_of_the_init_image_comes_before_the_mask(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    clear = INIT.convert("RGBA")
    clear.putalpha(Image.eval(rectangle((0, 0, 8, 8)), lambda value: 255 - value))
    p = img2img(host, rectangle((40, 24, 64, 48)), inpaint_full_res=False, init_images=[clear])
    (unit,) = units_of(p, folder, {"model": "net_inpaint", "image_from": "init"})
    seen = unit.control.map.pixels(96, 80)[0]  # type: ignore[union-attr]
    assert int(seen.eq(-1).all(0).sum()) == 64


def test_each_picture_of_a_batch_has_its_own_init_image(host: FakeWebUI, script: Any, folder: Path) -> None:
    p = img2img(host, None, init_images=[INIT, OTHER], batch_size=3, n_iter=2, width=96, height=80)
    assert picture_count(p) == 4, "the WebUI makes the batch as large as the pictures"
    units = units_of(p, folder, {"image_from": "init"})
    assert [unit.pictures for unit in units] == [(0, 2), (1, 3)]
    for unit, wanted in zip(units, (INIT, OTHER), strict=True):
        assert unit.control.control_map(96, 80).tobytes() == wanted.tobytes()
    same = img2img(host, None, init_images=[INIT] * 2, batch_size=2)
    assert [unit.pictures for unit in units_of(same, folder, {"image_from": "init"})] == [None]


def test_a_list_that_does_not_fit_the_batches_says_both_numbers(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    p = Processing(host, batch_size=2, n_iter=2, init_images=[])
    with pytest.raises(RequestError, match="3 pictures for a generation of 4") as caught:
        units_of(p, folder, {"images": [encode_image(GIVEN)] * 3})
    assert caught.value.path == "$.units[0].images"
    txt2img = Processing(host)
    txt2img.init_images = ()  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="no img2img picture"):
        units_of(txt2img, folder, {"image_from": "init"})
