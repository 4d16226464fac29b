"""Very large pictures, what is saved and what is sent, extra noise, comments: over REST in the real WebUI."""

import json
import zlib
from base64 import b64encode
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import DEPTH, EDGES, PICTURE, Answer, WebUI, encoded, scene

pytestmark = pytest.mark.live
START = {"init_images": [EDGES["image"]], "denoising_strength": 0.6, "tab": "img2img", "steps": 6}


def bomb(side: int) -> str:
    """A white PNG of `side` x `side` pixels in black and white, a few hundred kilobytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), b"\0" + b"\xff" * ((side + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b64encode(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")).decode()


def test_a_control_picture_of_64_megapixels_is_fitted(webui: WebUI, plain: Answer) -> None:
    large = encoded(scene().resize((8000, 8000), Image.Resampling.NEAREST))
    made = webui.generate(EDGES | {"image": large}, DEPTH | {"image": large}, PICTURE | {"image": large})
    small = webui.generate(EDGES, DEPTH, PICTURE)
    assert not made.same(plain)
    assert np.abs(made.images[0].astype(int) - small.images[0]).mean() < 12
    assert webui.generate().same(plain)


@pytest.mark.parametrize("side", [8001, 40_000])
@pytest.mark.parametrize("field", ["image", "mask"])
def test_a_larger_one_is_refused_before_it_is_decoded(webui: WebUI, side: int, field: str) -> None:
    refused = webui.generate(EDGES | {field: bomb(side)})
    assert refused.status == 422, refused.json
    assert refused.detail["path"] == f"$.units[0].{field}"
    assert "larger than 64 megapixels" in refused.detail["message"]


def test_a_long_generation_is_controlled(webui: WebUI) -> None:
    wide = {"width": 4096, "height": 64, "steps": 1}
    assert not webui.generate(EDGES, PICTURE, **wide).same(webui.generate(**wide))


def test_a_mistake_in_a_request_for_a_large_picture_is_found_at_once(webui: WebUI) -> None:
    refused = webui.generate(EDGES | {"guidance_start": 0.96}, width=2048, height=2048, n_iter=4)
    assert refused.status == 422


def test_saved_but_not_sent(webui: WebUI, webui_root: Path) -> None:
    """Saved are the pictures alone, those that would be sent; the control maps are sent, not saved."""
    sent = webui.generate(EDGES, DEPTH, batch_size=2)
    found = set(webui_root.glob("output*/**/*.png"))
    kept = webui.generate(EDGES, DEPTH, batch_size=2, send_images=False, save_images=True)
    assert kept.status == 200
    assert kept.images == []
    info = json.loads(kept.json["info"])
    assert info["all_seeds"] == [1, 2]
    new = sorted(set(webui_root.glob("output*/**/*.png")) - found)
    grids = [path for path in new if "grid" in path.name]
    saved = [np.asarray(Image.open(path).convert("RGB")) for path in new if path not in grids]
    assert len(saved) == 2
    for picture, wanted in zip(saved, sent.images, strict=False):
        assert np.array_equal(picture, wanted)
    with Image.open(new[0]) as file:
        assert "CtrlGen" in file.info["parameters"]


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_extra_noise_with_units_and_schedules(webui: WebUI, sampler: str) -> None:
    webui.post("/sdapi/v1/options", {"img2img_extra_noise": 0})  # 1.10.1 restores only what was ever set
    webui.generate()  # the WebUI's first img2img after another checkpoint is some 2 of 255 off
    noisy = {"override_settings": {"img2img_extra_noise": 0.3}, "sampler_name": sampler, **START}
    without = {**START, "sampler_name": sampler}
    plain, quiet = webui.generate(**noisy), webui.generate(EDGES, PICTURE, **without)
    units = webui.generate(EDGES, PICTURE, **noisy)
    assert "Extra noise: 0.3" in webui.infotext(units)
    assert not units.same(plain)
    assert not units.same(quiet)
    constant = webui.generate(EDGES | {"weight": "1@0, 1@1"}, PICTURE | {"weight": "1>1"}, **noisy)
    assert constant.same(units)
    assert not webui.generate(EDGES | {"weight": "1>0"}, PICTURE, **noisy).same(units)
    prompt = {"prompt": "a (red:2@0, 2@1) circle"}
    assert webui.generate(EDGES, **noisy | prompt).same(
        webui.generate(EDGES, **noisy | {"prompt": "a (red:2) circle"})
    )
    assert webui.generate(**noisy).same(plain)
    assert webui.generate(EDGES, PICTURE, **without).same(quiet)


NEAR_MISS = "a red circle # (bad:1@0,,x@1)"
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}


def test_comments_are_not_read(webui: WebUI, plain: Answer) -> None:
    """As the WebUI's own script cuts them off, in all four prompts and in styles."""
    assert webui.generate(prompt=NEAR_MISS).same(plain)
    assert webui.generate(negative_prompt="blue # (bad:1>>2)").same(plain)
    both = {"hr_prompt": NEAR_MISS, "hr_negative_prompt": "blue # (bad:1>>2)", **HIRES}
    named = {"hr_prompt": "a red circle", "hr_negative_prompt": "blue", **HIRES}
    assert webui.generate(**both).same(webui.generate(**named))
    scheduled = "a (red:2@0 hold, 0.5@0.5) circle"
    noted = webui.generate(EDGES, prompt=f"{scheduled}\n# was (red:1>>0)")
    assert noted.same(webui.generate(EDGES, prompt=f"{scheduled}\n"))
    assert not noted.same(webui.generate(EDGES, prompt="a red circle\n"))
    assert webui.generate(prompt=f"a red circle # {scheduled}").same(plain)


def test_without_the_setting_a_comment_is_text(webui: WebUI) -> None:
    webui.post("/sdapi/v1/options", {"enable_prompt_comments": True})
    off: dict[str, Any] = {"override_settings": {"enable_prompt_comments": False}}
    refused = webui.generate(prompt=NEAR_MISS, **off)
    assert refused.status == 422
    assert refused.detail["path"] == "$.prompt"
    scheduled = "a circle # (red:2@0 hold, 0.5@0.5)"
    assert webui.generate(prompt=scheduled, **off).status == 200
    assert "CtrlGen" not in webui.infotext(webui.generate(prompt=scheduled))
