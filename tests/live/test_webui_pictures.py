"""A unit's pictures and masks in the real WebUI: per picture of a batch, regions, img2img, only masked."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from tests.live.conftest import EDGES, SIZE, WebUI, close, encoded, scene

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}


def square(size: int = SIZE) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(picture).rectangle((10, 14, 40, 52), fill="blue", outline="black", width=2)
    return picture


A, B = encoded(scene()), encoded(square())
MANY = {key: value for key, value in EDGES.items() if key != "image"}
OWN = MANY | {"images": [A, B, B, A]}


def half(left: bool) -> Image.Image:
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, 0, SIZE // 2, SIZE) if left else (SIZE // 2, 0, SIZE, SIZE))
    return mask


@pytest.mark.parametrize("fields", [{}, {"sampler_name": "DPM++ 2M"}, HIRES], ids=str)
def test_each_picture_of_a_batch_has_its_own(webui: WebUI, fields: dict[str, Any]) -> None:
    made = webui.generate(OWN, batch_size=2, n_iter=2, **fields)
    assert made.status == 200, made.json
    for number, image in enumerate((A, B, B, A)):
        alone = webui.generate(EDGES | {"image": image}, seed=1 + number, **fields)
        assert np.abs(made.images[number].astype(int) - alone.images[0]).max() <= 2, number


def test_a_wrong_number_of_pictures_says_both(webui: WebUI) -> None:
    refused = webui.generate(OWN, batch_size=3)
    assert refused.status == 422
    assert refused.detail["path"] == "$.units[0].images"
    assert "4" in refused.detail["message"]
    assert "3" in refused.detail["message"]


def test_regions_add_up_and_feathers_soften(webui: WebUI, plain: Any) -> None:
    left, right = (EDGES | {"mask": encoded(half(side))} for side in (True, False))
    whole = webui.generate(EDGES)
    assert close(webui.generate(left, right).images[0], whole.images[0])
    soft = [unit | {"mask_feather": 8} for unit in (left, right)]
    assert np.abs(webui.generate(*soft).images[0].astype(int) - whole.images[0]).max() <= 2
    assert not webui.generate(soft[0]).same(webui.generate(left))
    other = webui.generate(left, right | {"image": B})
    assert not other.same(whole)
    assert webui.generate().same(plain)


def inpainting(mask: Image.Image, **fields: Any) -> dict[str, Any]:
    init = Image.new("RGB", (2 * SIZE, SIZE), "white")
    init.paste(scene(), (SIZE, 0))
    return {
        "tab": "img2img",
        "init_images": [encoded(init)],
        "mask": encoded(mask),
        "denoising_strength": 0.8,
        "mask_blur": 0,
        "inpaint_full_res_padding": 0,
        **fields,
    }


def test_only_masked_cuts_the_units_picture_to_the_part(webui: WebUI) -> None:
    """The right half is painted at the generation's size: the unit's picture is its right half, too."""
    wide = Image.new("RGB", (2 * SIZE, SIZE), "white")
    wide.paste(square(), (SIZE, 0))
    mask = Image.new("L", (2 * SIZE, SIZE), 0)
    mask.paste(255, (SIZE, 0, 2 * SIZE, SIZE))
    fields = inpainting(mask, inpaint_full_res=True)
    unit = EDGES | {"image": encoded(wide), "resize_mode": "just_resize"}
    cut = webui.generate(unit, **fields)
    assert cut.status == 200, cut.json
    same = webui.generate(EDGES | {"image": B, "inpaint_crop": False}, **fields)
    assert cut.images[0].shape == (SIZE, 2 * SIZE, 3)
    assert close(cut.images[0], same.images[0])
    assert np.array_equal(cut.images[1], same.images[1])  # the control maps
    assert not cut.same(webui.generate(unit | {"inpaint_crop": False}, **fields))


def test_the_init_image_is_used_when_it_is_asked_for(webui: WebUI) -> None:
    fields = {"tab": "img2img", "init_images": [A], "denoising_strength": 0.8}
    asked = webui.generate(MANY | {"image_from": "init"}, **fields)
    assert asked.status == 200, asked.json
    assert asked.same(webui.generate(EDGES, **fields))
    refused = webui.generate(MANY | {"image_from": "init"})
    assert refused.status == 422
    assert refused.detail["path"] == "$.units[0].image_from"


@pytest.mark.parametrize("full", [False, True])
def test_the_inpainting_mask_becomes_holes(webui: WebUI, full: bool) -> None:
    mask = half(left=True)
    fields = {
        "tab": "img2img",
        "init_images": [A],
        "mask": encoded(mask),
        "denoising_strength": 1.0,
        "inpaint_full_res": full,
        "inpaint_full_res_padding": 8,
        "mask_blur": 0,
    }
    unit = {"model": "ctrlgen-tiny-depth", "preprocessor": "inpaint_only", "params": {"border": 0}}
    made = webui.generate(unit | {"image_from": "init"}, **fields)
    assert made.status == 200, made.json
    hollow = scene().convert("RGBA")
    hollow.putalpha(ImageOps.invert(mask))
    given = webui.generate(unit | {"image": encoded(hollow)}, **fields)
    assert close(made.images[0], given.images[0])
    kept = np.asarray(scene())[:, SIZE // 2 + 10 :]
    assert np.array_equal(made.images[0][:, SIZE // 2 + 10 :], kept)


def test_a_resolution_for_detection(webui: WebUI) -> None:
    own, other = (webui.generate(EDGES | {"params": {"resolution": size}}) for size in (0, 128))
    assert own.status == other.status == 200
    assert not own.same(other)
    assert webui.generate(EDGES).same(own)
