"""What a generation of the WebUI paints on: its pictures, its mask, and the part of them with "Only masked".

The part is found as the WebUI's img2img finds it in its `init`, which runs after the scripts' `process`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from modules import masking, processing
from PIL import Image, ImageOps

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.images.canvas import Canvas, Crop

from .init_images import picture_count


def canvas_of(p: Any, each: int | None = None) -> Canvas:
    """The canvas of a generation; `each` is the number of pictures of one cell, where it makes several."""
    pictures = picture_count(p) if each is None else each
    if not hasattr(p, "init_images"):
        return Canvas(pictures=pictures)
    mask = blurred_mask(p)
    if mask is None or not p.inpaint_full_res:
        return Canvas(pictures=pictures, img2img=True, mask=mask)
    box = masking.get_crop_region_v2(mask, p.inpaint_full_res_padding)
    if box is None:  # nothing is masked: the WebUI then paints the whole picture
        return Canvas(pictures=pictures, img2img=True)
    box = masking.expand_crop_region(box, p.width, p.height, mask.width, mask.height)
    return Canvas(pictures=pictures, img2img=True, mask=mask, crop=Crop(box=box, whole=mask.size))


def blurred_mask(p: Any) -> Image.Image | None:
    """What is inpainted, in grey: white is painted anew. None without a mask."""
    given = getattr(p, "image_mask", None)
    if given is None:
        return None
    mask = processing.create_binary_mask(given, round=p.mask_round)
    if p.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    pixels = np.array(mask)
    for along, sigma in enumerate((p.mask_blur_x, p.mask_blur_y)):
        if sigma > 0:
            reach = 2 * int(2.5 * sigma + 0.5) + 1
            pixels = cv2.GaussianBlur(pixels, (reach, 1) if along == 0 else (1, reach), sigma)
    return Image.fromarray(pixels).convert("L")


def require_place(p: Any, canvas: Canvas) -> None:
    """Raise HostError unless the WebUI paints where the units' pictures were cut out."""
    in_part = getattr(p, "image_mask", None) is not None and p.inpaint_full_res
    painted = getattr(p, "paste_to", None) if in_part else None  # else it may be of an earlier generation
    box = canvas.crop.box if canvas.crop else None
    wanted = None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1])
    if (None if painted is None else tuple(painted)) != wanted:
        raise HostError(
            f"the WebUI paints {painted or 'the whole picture'}, the units' pictures are cut for "
            f"{wanted or 'the whole picture'}: another extension changed the inpainting mask after this one"
        )
