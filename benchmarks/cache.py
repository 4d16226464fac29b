"""Whether the model cache keeps what every generation uses: files opened over ten generations.

Three ControlNets for SD1.5 with random weights in float32, 4.3 GB, as a user without a GPU has them, are
loaded and prepared again and again. `again` is what is opened after the first generation at the default
budget, which follows the machine's memory; `again_fixed` at 4 GB, the default of earlier versions, into
which the three do not fit. `--quick` takes networks of a fifth of the width, and a share of the budgets.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from _harness import Result, at_most, effort, finish, parser
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models import tensor_files as weights
from lib_ctrlgen.models.memory import GB, Automatic, Budget, Fixed
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

NAMES = ("one", "two", "three")
WIDTHS = (320, 640, 1280, 1280)
FULL_BYTES = 4.335e9


def unet(shrink: int) -> Any:
    """SD1.5's U-Net without memory, each level of a part of its width."""
    widths = tuple(width // shrink for width in WIDTHS)
    with torch.device("meta"):
        return UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)


def write_networks(folder: Path, base: Any) -> int:
    """Write three files of the same random weights; gives their bytes."""
    with torch.device("meta"):
        shapes = ControlNetModel.from_unet(base, load_weights_from_unet=False).state_dict()
    first = folder / f"{NAMES[0]}.safetensors"
    save_file({key: torch.randn(value.shape) * 0.02 for key, value in shapes.items()}, first)
    for name in NAMES[1:]:
        shutil.copy(first, folder / f"{name}.safetensors")
    return len(NAMES) * first.stat().st_size


def opened(folder: Path, base: Any, budget: Budget, generations: int) -> tuple[list[int], float]:
    """How many files each generation opens, and the mean seconds of those after the first."""
    picture = encode_image(Image.new("RGB", (64, 64), "white"))
    named = [{"model": name, "image": picture} for name in NAMES]
    units = parse_request({"units": named}, ControlRequest).units
    store, shape = ModelStore([folder], budget), DiffusersUNet(base).shape
    counts, seconds = [], []
    for _ in range(generations):
        start = time.perf_counter()
        with patch.object(weights, "safe_open", wraps=safe_open) as opening, store.working_set():
            load_units(units, Target(store=store, shape=shape, unet=base))
        counts.append(opening.call_count)
        seconds.append(time.perf_counter() - start)
    return counts, sum(seconds[1:]) / max(1, generations - 1)


def main() -> int:
    """Measure and print."""
    options = parser(__doc__ or "").parse_args()
    base = unet(effort(options, smoke=5, quick=5, full=1))
    generations = effort(options, smoke=2, quick=10, full=10)
    with tempfile.TemporaryDirectory() as name:
        total = write_networks(Path(name), base)
        scale = total / FULL_BYTES
        budgets: dict[str, Budget] = {
            "": Automatic(least=int(4 * GB * scale)),
            "_fixed": Fixed(least=int(4 * GB * scale)),
        }
        figures = {"gigabytes": total / GB}
        for part, budget in budgets.items():
            counts, seconds = opened(Path(name), base, budget, generations)
            figures |= {
                f"first{part}": float(counts[0]),
                f"again{part}": float(sum(counts[1:])),
                f"seconds_again{part}": seconds,
            }
    limits = {"again": at_most(0), "again_fixed": at_most(generations - 1)}
    return finish(Result("cache", figures, limits), options)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
