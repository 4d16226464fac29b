"""Paints a part of a picture anew and keeps its edges: inpaint.py [URL]."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from lib_ctrlgen.client import WebUI

webui = WebUI(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
picture = Image.open("examples/pictures/layout.png").convert("RGB")
mask = Image.new("L", picture.size, "black")
ImageDraw.Draw(mask).rectangle((0, 0, picture.width // 2, picture.height), fill="white")  # painted anew

made = webui.img2img(
    {"units": [{"model": "ctrlgen-tiny-edges", "preprocessor": "canny", "image_from": "init"}]},
    init_images=[picture],
    mask=mask,
    prompt="a blue cross on a yellow background",
    denoising_strength=0.8,
    inpainting_fill=1,  # begins with what is there
    inpaint_full_res=False,  # the whole picture, not "Only masked"
    steps=12,
    width=picture.width,
    height=picture.height,
    seed=1,
    override_settings={"sd_model_checkpoint": "ctrlgen-tiny"},
)
print(made.pictures[0].save(Path("pictures/inpaint.png")), made.infotexts[0])
