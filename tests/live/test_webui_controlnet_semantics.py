"""A request in sd-webui-controlnet's form makes the same picture here as there, to 1/255.

CTRLGEN_OLD_WEBUI_URL and CTRLGEN_OLD_WEBUI_ROOT are a second WebUI, with sd-webui-controlnet 1.1.455 instead
of this extension and the same models; `tests.support.shrink_controlnet` lets it load the tiny ones.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_ctrlgen.images.files import decode_image
from tests.live.conftest import PLAIN, SIZE, WebUI, encoded
from tests.support.control_families import PREFIX, SD15, SDXL, installed

pytestmark = pytest.mark.live
CHECKPOINTS = {"ctrlgen-tiny": SD15, "ctrlgen-sdxl": SDXL}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}


def picture(width: int = 96, height: int = 80) -> Image.Image:
    """Shapes under noise, so that there are many colours and many edges."""
    drawn = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(drawn)
    draw.ellipse(
        (width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill="red", outline="black", width=2
    )
    draw.polygon([(3, height - 5), (width // 3, height // 2), (width // 2, height - 4)], fill="blue")
    noise = np.random.default_rng(0).integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.asarray(drawn).astype(int) + noise).clip(0, 255).astype(np.uint8))


def spot(width: int, height: int) -> str:
    mask = Image.new("RGB", (width, height))
    ImageDraw.Draw(mask).ellipse((width // 5, height // 5, width * 3 // 4, height * 3 // 4), fill="white")
    return encoded(mask)


EDGES: dict[str, Any] = {
    "enabled": True,
    "module": "canny",
    "model": "ctrlgen-tiny-edges",
    "image": encoded(picture()),
}
PLAIN_MAP = EDGES | {"module": "none", "model": "ctrlgen-tiny-depth"}
HOLED = EDGES | {"model": f"{PREFIX}-inpaint", "mask": spot(96, 80)}
T2I = EDGES | {"model": f"{PREFIX}-t2i-full"}
FACES = EDGES | {"module": "ip-adapter_clip_h", "model": "ctrlgen-tiny-ip"}
XL = EDGES | {"model": f"{PREFIX}-xl-ldm"}
OWN = {name: value for name, value in EDGES.items() if name != "image"}
HOLE = {"model": HOLED["model"], "module": "inpaint_only", "weight": 0.5}
PROMPT, CONTROL = ({"control_mode": f"{who} is more important"} for who in ("My prompt", "ControlNet"))
INIT = {"init_images": [encoded(picture())], "denoising_strength": 0.6}
MASKED = INIT | {"mask": spot(96, 80), "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res_padding": 8}
PART = MASKED | {"inpaint_full_res": True}
LAYERS = {"advanced_weighting": [0.1 * layer for layer in range(13)]}
WINDOW = {"guidance_start": 0.3, "guidance_end": 0.7}
TXT2IMG: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "weight": ([EDGES | {"weight": 1.7}], {}),
    "two units": ([EDGES, PLAIN_MAP | {"weight": 0.6}], {}),
    "prompt": ([EDGES | PROMPT], {}),
    "control": ([EDGES | CONTROL], {}),
    "window": ([EDGES | WINDOW], {"steps": 10}),
    "window of one number": ([EDGES | {"guidance_start": 0.5, "guidance_end": 0.5}], {"steps": 10}),
    "window, Heun": ([EDGES | WINDOW], {"steps": 10, "sampler_name": "Heun"}),
    "window, DPM++ SDE": ([EDGES | WINDOW], {"steps": 10, "sampler_name": "DPM++ SDE"}),
    "layers": ([EDGES | LAYERS], {}),
    "hires": ([EDGES | WINDOW], HIRES),
    "hires, control": ([EDGES | CONTROL], HIRES | {"prompt": "a prompt of its own"}),
    "hires, low res only": ([EDGES | {"hr_option": "Low res only"}], HIRES),
    "hires, high res only": ([PLAIN_MAP | {"hr_option": "High res only"}], HIRES),
    "stretched": ([EDGES | {"resize_mode": "Just Resize", "processor_res": 200}], {"width": 96}),
    "filled": ([PLAIN_MAP | {"resize_mode": "Resize and Fill"}], {"width": 128}),
    "pixel perfect": ([EDGES | {"resize_mode": "Resize and Fill", "pixel_perfect": True}], {}),
    "region": ([EDGES | {"effective_region_mask": spot(50, 40)}], {}),
    "mask as picture": ([EDGES | {"module": "invert", "mask": spot(96, 80)}], {}),
    "tile": ([EDGES | {"module": "tile_resample", "threshold_a": 3}], {}),
    "colorfix": ([EDGES | {"module": "tile_colorfix+sharp", "weight": 0.6, "guidance_end": 0.5}], HIRES),
    "recolor": ([EDGES | {"module": "recolor_luminance", "threshold_a": 1.4}], {}),
    "shuffle": ([EDGES | {"module": "shuffle"}], {"subseed": 5}),
    "inpaint": ([HOLED | {"module": "inpaint"}], {}),
    "inpaint only": ([HOLED | {"module": "inpaint_only", "resize_mode": "Resize and Fill"}], HIRES),
    "T2I-Adapter": ([T2I | PROMPT], {}),
    "T2I-Adapter, hires": ([T2I], HIRES),
    "IP-Adapter": ([FACES | {"weight": 0.6, "guidance_start": 0.3}], {}),
    "IP-Adapter, layers": ([FACES | {"advanced_weighting": [0.1 * layer for layer in range(16)]}], {}),
    "IP-Adapter, two pictures": (
        [FACES | {"image": [{"image": EDGES["image"]}, {"image": encoded(picture(64, 100))}]}],
        {},
    ),
    "IP-Adapter, mask": ([FACES | {"mask": spot(96, 80)}], {}),
}
IMG2IMG: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "own picture": ([OWN | {"weight": 0.5}], INIT | {"resize_mode": 2}),
    "window": ([EDGES | WINDOW], INIT | {"steps": 20}),
    "only masked": ([EDGES | {"image": encoded(picture(120, 80)), "resize_mode": "Resize and Fill"}], PART),
    "only masked, not cropped": ([EDGES | {"inpaint_crop_input_image": False}], PART),
    "only masked, own picture": ([OWN | HOLE], PART),
    "whole picture": (
        [OWN | HOLE | {"module": "inpaint"}],
        MASKED | {"inpaint_full_res": False},
    ),
}
SDXL_CASES = {
    "balanced": ([XL], {}),
    "prompt": ([XL | PROMPT], {}),
    "hires": ([XL], HIRES),
    "LLLite": ([EDGES | {"model": f"{PREFIX}-xl-lllite", "weight": 2}], HIRES),
    "T2I-Adapter": ([EDGES | PROMPT | {"model": f"{PREFIX}-xl-t2i"}], {}),
}


@pytest.fixture(scope="module")
def both(webui: WebUI, webui_root: Path) -> Iterator[tuple[WebUI, WebUI]]:
    """This extension's WebUI and sd-webui-controlnet's, with the same random control files."""
    url, root = (os.environ.get(f"CTRLGEN_OLD_WEBUI_{name}") for name in ("URL", "ROOT"))
    if not url or not root:
        pytest.skip("live test: set CTRLGEN_OLD_WEBUI_URL and CTRLGEN_OLD_WEBUI_ROOT")
    old = WebUI(url)
    with ExitStack() as stack:
        for folder in (webui_root, Path(root)):
            for checkpoint, makes in CHECKPOINTS.items():
                if (folder / "models" / "Stable-diffusion" / f"{checkpoint}.safetensors").exists():
                    stack.enter_context(installed(folder, f"{checkpoint}.safetensors", makes))
        webui.get("/ctrlgen/v1/models?refresh=true")
        old.get("/controlnet/model_list?update=true")
        yield webui, old


def made(webui: WebUI, units: list[dict[str, Any]], tab: str, fields: dict[str, Any]) -> tuple[Any, Any]:
    """The picture without units and the one with them, one right after the other.

    The WebUI's VAE encodes init pictures with noise that depends on what was loaded and generated before. So
    they are made twice, and the second ones are returned.
    """
    controlled = {"alwayson_scripts": {"ControlNet": {"args": units}}}
    rounds = 2 if tab == "img2img" else 1
    answers = [
        webui.post(f"/sdapi/v1/{tab}", {**PLAIN, "steps": 6, **fields, **scripts})
        for scripts in ({}, controlled) * rounds
    ]
    assert answers[-1].status_code == 200, answers[-1].json()
    return picture_of(answers[-2].json()), picture_of(answers[-1].json())


def picture_of(answer: dict[str, Any]) -> Any:
    return np.asarray(decode_image(answer["images"][0], "$").convert("RGB")).astype(int)


def compare(
    both: tuple[WebUI, WebUI], units: list[dict[str, Any]], tab: str, checkpoint: str, fields: dict[str, Any]
) -> None:
    settings = {"sd_model_checkpoint": checkpoint, "hires_fix_use_firstpass_conds": False}
    fields = {"width": SIZE, "height": SIZE, **fields, "override_settings": settings}
    (plain, ours), (old_plain, theirs) = (made(each, units, tab, fields) for each in both)
    assert np.array_equal(plain, old_plain), "the two WebUIs differ without control"
    assert np.abs(theirs - old_plain).max() > 1, "sd-webui-controlnet did nothing: see its log"
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("case", TXT2IMG)
def test_txt2img(both: tuple[WebUI, WebUI], case: str) -> None:
    units, fields = TXT2IMG[case]
    compare(both, units, "txt2img", "ctrlgen-tiny", fields)


@pytest.mark.parametrize("case", IMG2IMG)
def test_img2img(both: tuple[WebUI, WebUI], case: str) -> None:
    units, fields = IMG2IMG[case]
    compare(both, units, "img2img", "ctrlgen-tiny", fields)


@pytest.mark.parametrize("case", SDXL_CASES)
def test_sdxl(both: tuple[WebUI, WebUI], case: str) -> None:
    units, fields = SDXL_CASES[case]
    compare(both, units, "txt2img", "ctrlgen-sdxl", fields)


def test_a_field_gives_a_unit_our_own_semantics(both: tuple[WebUI, WebUI]) -> None:
    webui, _ = both
    unit = EDGES | {"guidance_end": 0.5}
    fields: dict[str, Any] = {"override_settings": {"sd_model_checkpoint": "ctrlgen-tiny"}, "steps": 10}
    _, old = made(webui, [unit], "txt2img", fields)
    _, own = made(webui, [unit | {"ctrlgen_semantics": True}], "txt2img", fields)
    request = {"model": EDGES["model"], "image": EDGES["image"], "preprocessor": "canny", "guidance_end": 0.5}
    same = webui.generate(request | {"params": {"resolution": 512}}, **fields)
    assert np.abs(own - same.images[0].astype(int)).max() <= 1
    assert np.abs(own - old).max() > 1
