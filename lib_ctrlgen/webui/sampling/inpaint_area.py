"""The area that a generation paints: the whole picture, or the crop of "Only masked" around the mask.

The crop is computed like in the WebUI's img2img, whose `init` runs only after the scripts' `process`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from modules import masking, processing
from PIL import Image, ImageOps

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.images.canvas import Canvas, Crop


def canvas_of(p: Any, pictures: int) -> Canvas:
    """Return a generation's canvas; `pictures` is the number of pictures of one request."""
    batches = int(p.n_iter)
    plain = Canvas(pictures=pictures, together=pictures // batches if batches > 1 else 0)
    if not hasattr(p, "init_images"):
        return plain
    plain, mask = replace(plain, img2img=True), blurred_mask(p)
    if mask is None or not p.inpaint_full_res:
        return replace(plain, mask=mask)
    box = masking.get_crop_region_v2(mask, p.inpaint_full_res_padding)
    if box is None:  # the mask is empty, so the WebUI paints the whole picture
        return plain
    box = masking.expand_crop_region(box, p.width, p.height, mask.width, mask.height)
    return replace(plain, mask=mask, crop=Crop(box=box, whole=mask.size))


def blurred_mask(p: Any) -> Image.Image | None:
    """Return the blurred inpainting mask in grey (white is repainted), or None without a mask."""
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
    """Raise HostError unless the WebUI paints the crop that the units' pictures were cut to."""
    in_part = getattr(p, "image_mask", None) is not None and p.inpaint_full_res
    # Without a mask `paste_to` may be left from an earlier generation.
    painted = getattr(p, "paste_to", None) if in_part else None
    box = canvas.crop.box if canvas.crop else None
    wanted = None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1])
    if (None if painted is None else tuple(painted)) != wanted:
        raise HostError(
            f"the WebUI inpaints {painted or 'the whole picture'}, but the units' pictures were cropped for "
            f"{wanted or 'the whole picture'}: another extension changed the inpainting mask after this one"
        )
