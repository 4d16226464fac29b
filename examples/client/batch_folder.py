"""Makes a picture with the edges of each picture of a folder: batch_folder.py [URL]."""

import sys
from pathlib import Path

from lib_ctrlgen.client import RefusedError, WebUI

webui = WebUI(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
settings = {
    "prompt": "a red cross on a white background",
    "steps": 12,
    "width": 128,  # the tiny model's size; your own checkpoint's may be 512 or 1024
    "height": 128,
    "cfg_scale": 4,
    "seed": 1,
    "override_settings": {"sd_model_checkpoint": "ctrlgen-tiny"},
}

for file in sorted(Path("examples/pictures").glob("*.png")):
    unit = {"model": "ctrlgen-tiny-edges", "preprocessor": "canny", "image": file, "weight": "1@0, 0@0.6"}
    try:
        made = webui.txt2img({"units": [unit]}, **settings)
    except RefusedError as error:  # this picture only; the others are made all the same
        print(f"{file}: {error.path}: {error.message}", file=sys.stderr)
        continue
    print(made.pictures[0].save(Path("pictures") / file.name), *made.warnings)
