"""The grid that tests of the tuner make on a random model, and what is in a folder."""

from pathlib import Path
from typing import Any

from tests.support import control_files as files
from tests.support import headless_models as models

UNITS = [
    {"model": f"{models.NAME}-edges", "image": files.drawn_url(), "preprocessor": "canny"},
    {"model": f"{models.NAME}-ip", "image": files.data_url(seed=2)},
]
PAYLOAD: dict[str, Any] = {
    "prompt": "a red star", "width": 64, "height": 64, "steps": 2, "sampler": "DDIM", "units": UNITS,
}  # fmt: skip
X = {"path": "Unit 0 weight", "values": "0, 1"}
Y = {"path": "Unit 1 weight", "values": "0.5, 1.5"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
