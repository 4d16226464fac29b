"""What acts after the U-Net, in the real WebUI: restoring, colours, lightness, and their end rule."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import SIZE, Answer, WebUI, close, encoded, scene

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
HALF = SIZE // 2
MODEL = {"model": "ctrlgen-tiny-depth"}


def hollow(size: int = SIZE) -> Image.Image:
    """The scene, its left half a hole."""
    picture = scene(size).convert("RGBA")
    alpha = Image.new("L", (size, size), 255)
    alpha.paste(0, (0, 0, size // 2, size))
    picture.putalpha(alpha)
    return picture


HOLED = MODEL | {"image": encoded(hollow()), "params": {"transparent": "holes", "border": 0}}
WHOLE = MODEL | {"image": encoded(scene())}


def lightness(picture: Any) -> Any:
    return picture.max(-1).astype(int)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sampler_name": "DDIM"},
        {"sampler_name": "UniPC"},
        {"sampler_name": "DPM++ 2M", "batch_size": 2},
        {"sampler_name": "Heun"},
        {"prompt": "a cat AND a dog:0.5"},
        {"override_settings": {"batch_cond_uncond": False}},
    ],
    ids=str,
)
def test_outside_the_hole_every_pixel_is_kept(webui: WebUI, plain: Answer, fields: dict[str, Any]) -> None:
    made = webui.generate(HOLED | {"preprocessor": "inpaint_only"}, **fields)
    assert made.status == 200, made.json
    kept = np.asarray(scene())[:, HALF + 8 :]
    for picture in made.images[: fields.get("batch_size", 1)]:
        assert np.array_equal(picture[:, HALF + 8 :], kept)
        assert not np.array_equal(picture[:, :HALF], np.asarray(scene())[:, :HALF])
    assert webui.generate().same(plain)


def test_a_window_that_ends_before_pastes_nothing(webui: WebUI) -> None:
    unit = HOLED | {"preprocessor": "inpaint_only"}
    early = webui.generate(unit | {"guidance_end": 0.5}).images[0]
    assert not np.array_equal(early[:, HALF + 8 :], np.asarray(scene())[:, HALF + 8 :])
    # the first steps hold the picture, so it stays nearer than without
    free = webui.generate().images[0]
    kept = np.asarray(scene()).astype(int)[:, HALF + 8 :]
    assert np.abs(early[:, HALF + 8 :] - kept).mean() < np.abs(free[:, HALF + 8 :] - kept).mean()


def test_hires_keeps_the_pixels_of_the_larger_picture(webui: WebUI) -> None:
    made = webui.generate(HOLED | {"image": encoded(hollow(96)), "preprocessor": "inpaint_only"}, **HIRES)
    assert made.status == 200, made.json
    assert np.array_equal(made.images[0][:, 60:], np.asarray(scene(96))[:, 60:])


def test_a_picture_without_a_hole_is_refused(webui: WebUI) -> None:
    refused = webui.generate(WHOLE | {"preprocessor": "inpaint_only"})
    assert refused.status == 422
    assert refused.detail["path"].startswith("$.units[0]")
    assert "hole" in refused.detail["message"] or "transparent" in refused.detail["message"]


def test_lama_without_its_file_says_which_and_where(webui: WebUI) -> None:
    refused = webui.generate(HOLED | {"preprocessor": "inpaint_only+lama"})
    assert refused.status == 422
    assert "ControlNetLama.pth" in refused.detail["message"]


@pytest.mark.parametrize("name", ["tile_colorfix", "tile_colorfix+sharp"])
def test_colours_come_nearer_and_obey_the_weight(webui: WebUI, plain: Answer, name: str) -> None:
    target = np.asarray(scene().resize((4, 4), Image.Resampling.BOX)).astype(int)

    def distance(answer: Answer) -> float:
        assert answer.status == 200, answer.json
        coarse = Image.fromarray(answer.images[0]).resize((4, 4), Image.Resampling.BOX)
        return float(np.abs(np.asarray(coarse).astype(int) - target).mean())

    unit = WHOLE | {"preprocessor": name, "params": {"variation": 3}, "layer_weights": [0] * 13}
    fixed, half, free = (
        distance(webui.generate(unit | {"weight": weight}, prompt="a blue square")) for weight in (1, 0.5, 0)
    )
    assert fixed < half < free
    assert webui.generate().same(plain)


@pytest.mark.parametrize(
    "fields", [{}, HIRES, {"batch_size": 2, "n_iter": 2}], ids=["plain", "hires", "batches"]
)
def test_recolouring_keeps_the_lightness(webui: WebUI, fields: dict[str, Any]) -> None:
    size = 96 if "enable_hr" in fields else SIZE
    unit = WHOLE | {"image": encoded(scene(size)), "preprocessor": "recolor_intensity"}
    made = webui.generate(unit, **fields)
    assert made.status == 200, made.json
    count = fields.get("batch_size", 1) * fields.get("n_iter", 1)
    for picture in made.images[:count]:
        assert np.abs(lightness(picture) - lightness(np.asarray(scene(size)))).max() <= 1
    early = webui.generate(unit | {"guidance_end": 0.5}, **fields)
    assert np.abs(lightness(early.images[0]) - lightness(np.asarray(scene(size)))).max() > 8


def test_img2img_and_the_tuner(webui: WebUI) -> None:
    unit = HOLED | {"preprocessor": "inpaint_only"}
    fields = {"tab": "img2img", "init_images": [encoded(scene().rotate(90))], "denoising_strength": 0.8}
    made = webui.generate(unit, **fields)
    assert made.status == 200, made.json
    assert np.array_equal(made.images[0][:, HALF + 8 :], np.asarray(scene())[:, HALF + 8 :])
    script = {
        "script_name": "CtrlGen X/Y tuner",
        "script_args": [{"x": {"path": "Unit 0 end", "values": "0.5, 1"}, "name": "live later"}],
    }
    sheet = webui.generate(unit, **script)
    cells = [picture for picture in sheet.images if picture.shape == (SIZE, SIZE, 3)]
    for cell, end in zip(cells, (0.5, 1), strict=True):
        assert close(cell, webui.generate(unit | {"guidance_end": end}).images[0])
