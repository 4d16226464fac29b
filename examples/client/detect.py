"""Writes the control maps of pictures without a generation: detect.py [URL]."""

import sys
from pathlib import Path

from lib_ctrlgen.client import WebUI

webui = WebUI(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
files = sorted(Path("examples/pictures").glob("*.png"))
found = webui.detect("canny | invert", files, {"low_threshold": 50})
for file, detected in zip(files, found, strict=True):
    print(detected.map.save(Path("pictures") / f"{file.stem}-edges.png"), *detected.warnings)
