"""Lets the WebUI's tuner try weights, and fetches the report: tuner_job.py [URL]."""

import sys
from pathlib import Path

from lib_ctrlgen.client import WebUI

webui = WebUI(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
unit = {
    "model": "ctrlgen-tiny-edges",
    "preprocessor": "canny",
    "image": Path("examples/pictures/layout.png"),
}
job = webui.tune(
    {"x": {"path": "Unit 0 weight", "values": "0-1 [3]"}, "seeds": 2, "name": "recipe"},
    {"units": [unit]},
    prompt="a red cross on a white background",
    steps=8,
    width=128,
    height=128,
    seed=1,
    override_settings={"sd_model_checkpoint": "ctrlgen-tiny"},
)
status = job.follow(lambda each: print(f"{each.state}: {each.done} of {each.total} cells"))
if status.recommended is not None:
    cell = status.cells[status.recommended.cell]
    print(f"recommended: weight {cell.values[0]}. {status.recommended.reason}")
print(*job.fetch(Path("pictures/tuner")), status.error, sep="\n")
