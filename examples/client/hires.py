"""Makes a picture in two passes; in the second one the unit acts less: hires.py [URL]."""

import sys
from pathlib import Path

from lib_ctrlgen.client import WebUI

webui = WebUI(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
unit = {
    "model": "ctrlgen-tiny-edges",
    "preprocessor": "canny",
    "image": Path("examples/pictures/layout.png"),
    "weight": 1,
    "hires": 0.4,  # the weight in the second pass
}
made = webui.txt2img(
    {"units": [unit], "hires_cfg_scale": "6>3"},
    prompt="a red cross on a white background",
    steps=12,
    width=128,
    height=128,
    seed=1,
    override_settings={"sd_model_checkpoint": "ctrlgen-tiny"},
    enable_hr=True,  # these are the WebUI's own fields
    hr_scale=2,
    hr_upscaler="Latent",
    hr_second_pass_steps=8,
    denoising_strength=0.6,
)
print(made.pictures[0].save(Path("pictures/hires.png")), made.pictures[0].image.size)
for number, control_map in enumerate(made.control_maps):
    print(control_map.save(Path(f"pictures/hires-map-{number}.png")))
