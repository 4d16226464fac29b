"""Masks with alpha, deep maps, and controls that would do nothing, over REST in the real WebUI."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import DEPTH, EDGES, SIZE, Answer, WebUI, encoded

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
KEY = "CtrlGen warnings"
LEFT = np.zeros((SIZE, SIZE), np.uint8)
LEFT[:, : SIZE // 2] = 255


def drawn(colour: int) -> str:
    """The left half in a colour, the right half transparent."""
    return encoded(Image.fromarray(np.dstack([np.full_like(LEFT, colour)] * 3 + [LEFT])))


def said(answer: Answer) -> Any:
    """The warnings of an answer."""
    assert answer.status == 200, answer.json
    return json.loads(answer.json["info"])["extra_generation_params"].get(KEY, "")


@pytest.mark.parametrize("colour", [0, 255])
def test_a_mask_in_the_alpha_channel_is_that_mask(webui: WebUI, plain: Answer, colour: int) -> None:
    grey = webui.generate(EDGES | {"mask": encoded(Image.fromarray(LEFT))})
    alpha = webui.generate(EDGES | {"mask": drawn(colour)})
    assert alpha.same(grey)
    assert not alpha.same(plain)
    assert not alpha.same(webui.generate(EDGES))
    concepts = [
        [{"prompt": "a red circle"}, {"prompt": "a blue square", "mask": mask}]
        for mask in (encoded(Image.fromarray(LEFT)), drawn(colour))
    ]
    blends = [webui.generate(args=[{"blend": {"concepts": each}}], prompt="") for each in concepts]
    assert blends[0].same(blends[1])


def test_a_depth_map_of_sixteen_bits_is_seen_whole(webui: WebUI) -> None:
    ramp = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    deep, plain = (encoded(Image.fromarray(each)) for each in (ramp, (ramp // 257).astype(np.uint8)))
    buffer = io.BytesIO()
    Image.fromarray((ramp / 65535).astype(np.float32)).save(buffer, "TIFF")
    floats = base64.b64encode(buffer.getvalue()).decode()
    shown = [webui.generate(DEPTH | {"image": each}).images[0].astype(int) for each in (deep, plain, floats)]
    assert np.abs(shown[0] - shown[1]).max() <= 8
    assert np.abs(shown[0] - shown[2]).max() <= 2


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"weight": 0}, "$.units[0].weight: the weight is 0"),
        ({"image": encoded(Image.new("RGB", (SIZE, SIZE), "grey"))}, "the control map is black everywhere"),
        ({"image": encoded(Image.new("RGB", (4000, 10)))}, "'canny' finds nothing in the picture"),
    ],
)
def test_a_warning_is_in_info_and_in_the_infotext(webui: WebUI, unit: dict[str, Any], words: str) -> None:
    made = webui.generate(EDGES | unit)
    assert words in said(made)
    assert KEY in webui.infotext(made)


def test_an_ordinary_answer_has_none(webui: WebUI) -> None:
    made = webui.generate(EDGES, DEPTH | {"weight": "1>0"}, **HIRES)
    assert said(made) == ""
    assert KEY not in webui.infotext(made)


@pytest.mark.parametrize(
    ("unit", "fields", "path"),
    [
        ({"guidance_start": 0.96}, {"steps": 20}, "guidance_start"),
        ({"guidance_start": 0.8}, {"sampler_name": "Heun", "steps": 2}, "guidance_start"),
        ({"guidance_start": 0.8}, HIRES, "guidance_start"),
        ({"image": encoded(Image.new("RGBA", (SIZE, SIZE)))}, {}, "image"),
        ({"image": encoded(Image.new("RGB", (1, 1)))}, {}, "image"),
        ({"mask": encoded(Image.new("RGB", (SIZE, SIZE)))}, {}, "mask"),
    ],
)
def test_a_control_that_could_do_nothing_makes_no_picture(
    webui: WebUI, unit: dict[str, Any], fields: dict[str, Any], path: str
) -> None:
    refused = webui.generate(EDGES | unit, **fields)
    assert refused.status == 422, refused.json
    assert refused.detail["path"] == f"$.units[0].{path}"


def test_img2img_and_the_hires_pass_count_their_real_steps(webui: WebUI) -> None:
    start = {"init_images": [EDGES["image"]], "denoising_strength": 0.3, "steps": 10, "tab": "img2img"}
    late = EDGES | {"guidance_start": 0.5, "guidance_end": 0.6}  # of 4 steps: step 2
    assert said(webui.generate(late, **start)) == ""
    missed = webui.generate(EDGES | {"guidance_start": 0.8}, **start)
    assert missed.status == 422
    assert "none of the 4 steps" in missed.detail["message"]
    first = EDGES | {"guidance_start": 0.7, "guidance_end": 0.72}  # of 10 steps the eighth, of 3 none
    made = webui.generate(first, **HIRES | {"steps": 10, "hr_second_pass_steps": 3})
    assert "of the hires pass" in said(made)
