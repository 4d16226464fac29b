"""What other extensions do with CtrlGen's script "ControlNet" in a real WebUI.

TiledDiffusion (pkuliyi2015/multidiffusion-upscaler-for-automatic1111) is tried where it is installed.
"""

import base64
import io
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.live.conftest import PLAIN, encoded, scene

SIZE = 256
UNIT = {"enabled": True, "module": "none", "model": "ctrlgen-tiny-depth"}


def picture(url: str, units: list[Any], **scripts: Any) -> Any:
    """The first picture of a generation of 256x256 with these units, or the error's answer."""
    body = {**PLAIN, "width": SIZE, "height": SIZE, "steps": 3}
    body["alwayson_scripts"] = {"ControlNet": {"args": units}, **scripts}
    answer = requests.post(f"{url}/sdapi/v1/txt2img", json=body, timeout=300)
    if answer.status_code != 200:
        return answer
    decoded = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))
    return np.asarray(decoded.convert("RGB")).astype(float)


def tiles() -> dict[str, Any]:
    """TiledDiffusion's arguments: MultiDiffusion in four tiles of 16x16 cells, two in a call."""
    first = [True, "MultiDiffusion", False, True, 1024, 1024, 16, 16, 0, 2, "None", 2.0]
    return {"args": [*first, False, 10, 1, 1, 64, False, False, False, False]}


def corner() -> Image.Image:
    """A circle in the upper left quarter."""
    shown = Image.new("RGB", (SIZE, SIZE), "white")
    shown.paste(scene(SIZE // 2), (0, 0))
    return shown


@pytest.fixture
def tiled(webui_url: str) -> str:
    listed = requests.get(f"{webui_url}/sdapi/v1/scripts", timeout=60).json()["txt2img"]
    if "tiled diffusion" not in listed:
        pytest.skip("TiledDiffusion is not installed")
    return webui_url


def test_a_tile_gets_its_own_part_of_the_map(tiled: str) -> None:
    """Without overlap a tile depends on its own part of the map alone."""
    args = {"Tiled Diffusion": tiles()}
    one = picture(tiled, [{**UNIT, "image": encoded(corner())}], **args)
    other = picture(tiled, [{**UNIT, "image": encoded(Image.new("RGB", (SIZE, SIZE), "white"))}], **args)
    difference = np.abs(one - other).mean(-1)
    inside, outside = difference[:120, :120].mean(), difference[136:, 136:].mean()
    assert outside < 1, "the VAE normalises over the whole picture"
    assert inside > 5 * outside


def test_a_unit_that_cannot_be_cut_stops_the_generation(tiled: str) -> None:
    mask = {"effective_region_mask": encoded(Image.new("RGB", (SIZE, SIZE), "white"))}
    answer = picture(tiled, [{**UNIT, "image": encoded(corner()), **mask}], **{"Tiled Diffusion": tiles()})
    assert answer.status_code == 422
    assert "tiles" in answer.json()["detail"]["message"]


def test_a_request_after_it_is_as_before(tiled: str) -> None:
    units = [{**UNIT, "image": encoded(corner())}]
    before = picture(tiled, units)
    picture(tiled, units, **{"Tiled Diffusion": tiles()})
    assert np.array_equal(picture(tiled, units), before)
