"""img2img generations of the fake WebUI with a mask."""

from typing import Any

from PIL import Image

from tests.support import control_files as files
from tests.support.fake_webui import FakeWebUI, Processing

INIT = files.picture(96, 80, 1)
OTHER = files.picture(96, 80, 2)
GIVEN = files.picture(48, 40, 3)


def rectangle(box: tuple[int, int, int, int], size: tuple[int, int] = (96, 80)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def img2img(host: FakeWebUI, mask: Image.Image | None, **fields: Any) -> Processing:
    """A `p` of the img2img tab, with the WebUI's own defaults."""
    plain = {
        "init_images": [INIT], "image_mask": mask, "mask_blur_x": 4, "mask_blur_y": 4, "mask_round": True,
        "inpaint_full_res": True, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0,
    }  # fmt: skip
    return Processing(host, **plain | fields)


def fresh_painted() -> Any:
    return __import__("lib_ctrlgen.webui.sampling.inpaint_area", fromlist=["canvas_of"])


def masked(host: FakeWebUI, **fields: Any) -> Processing:
    """A part of exactly 64 x 64 pixels at (24, 8), so that nothing is resized."""
    sizes = {"width": 64, "height": 64, "mask_blur_x": 0, "mask_blur_y": 0}
    return img2img(host, rectangle((24, 8, 88, 72)), **sizes | fields)
