"""What control maps cost beside their networks, what the caches save, and how long a list of models takes.

A network in the layout of `lineart_anime_denoise` with random weights, on pictures of 512 pixels. `memory`
and `disk` are the time of a detection that was made before as a part of the first one, which also reads the
network; for `disk` by another process, whose memory is empty. `ten` is the time of ten pictures through one
detector as a part of that of the same steps written out by hand, in turns.

`list_again` are the seconds of a list of 5,000 model files in a process that has listed them, whose folders
are searched again; `list_new` those in a new process, which reads the index of the first one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _harness import Result, at_most, effort, finish, paired, parser, seconds
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.controls.describe import describe
from lib_ctrlgen.models.disk_cache import DiskCache
from lib_ctrlgen.models.index import ModelIndex
from lib_ctrlgen.models.listing import listed
from lib_ctrlgen.models.memory import GB
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors.manga_line import MangaLines, manga_network
from lib_ctrlgen.preprocessors.standalone import Detector
from lib_ctrlgen.request.detection import DetectionSettings

NAME, FILE, SIZE = "lineart_anime_denoise", "erika.pth", 512
WIDTHS = (24, 48, 96, 192, 384, 192, 96, 48, 24, 16)
PICTURES, MODELS = 10, 5000
LIMITS = {
    "memory": at_most(0.02),
    "disk": at_most(0.02),
    "ten": at_most(1.05),
    "list_again": at_most(0.2),
    "list_new": at_most(0.2),
}


def pictures(size: int) -> Iterator[Image.Image]:
    """Pictures of noise, each another one, so that no map of an earlier picture is used."""
    for seed in count():
        noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        yield Image.fromarray(noise)


def write_network(folder: Path, depth: int) -> None:
    """Write random weights, with `depth` blocks in each stage."""
    torch.manual_seed(1)
    torch.save(MangaLines(WIDTHS, [depth] * len(WIDTHS)).state_dict(), folder / FILE)


def new_detector(folder: Path, disk: DiskCache | None = None) -> Detector:
    """The detector of a process whose memory is empty; what is known of files is read from the index."""
    index = ModelIndex(folder / "models.json")
    settings = DetectionSettings(preprocessor=NAME)
    return Detector.of(settings, ModelStore([folder], 4 * GB, index=index, disk=disk))


def cached(folder: Path, picture: Image.Image, times: int) -> dict[str, float]:
    """The time of a detection that was made before as a part of the first one."""
    disk = DiskCache(folder / "maps", GB)
    kept = new_detector(folder, disk)
    first = seconds(lambda: kept(picture, "$.image"))
    again = [seconds(lambda: kept(picture, "$.image")) for _ in range(times)]
    others = [new_detector(folder, disk) for _ in range(times)]
    read = [seconds(lambda each=each: each(picture, "$.image")) for each in others]  # type: ignore[misc]
    found = {"memory": statistics.median(again) / first, "disk": statistics.median(read) / first}
    return {"first_seconds": first, **found}


def by_hand(network: Any, picture: Image.Image) -> Image.Image:
    """The steps of the preprocessor, for a picture whose sides are multiples of 64."""
    grey = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
    with torch.no_grad():
        lines = network(torch.from_numpy(grey)[None, None])[0, 0].numpy()
    return Image.fromarray((255 - lines).clip(0, 255).astype(np.uint8)).convert("RGB")


def ten(folder: Path, size: int, number: int, pairs: int) -> tuple[float, float]:
    """The ratio for `number` pictures in a row and its standard error."""
    tensors = torch.load(folder / FILE, weights_only=True)
    network = manga_network(tensors).eval()
    network.load_state_dict(tensors)
    detector, drawn = new_detector(folder), pictures(size)
    one = next(drawn)
    mine, theirs = (np.asarray(each, float) for each in (detector(one, "$").map, by_hand(network, one)))
    if np.abs(mine - theirs).max() > 1:
        raise SystemExit("the two sides make different maps")

    def each_picture(function: Callable[[Image.Image], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(number):
                function(next(drawn))

        return run

    timing = paired(
        each_picture(lambda picture: detector(picture, "$")),
        each_picture(lambda picture: by_hand(network, picture)),
        pairs,
    )
    return timing.ratio, timing.error


def write_models(folder: Path, number: int) -> None:
    """Write small IP-Adapters in ten folders: one, and hard links to it."""
    folder.mkdir(parents=True)
    shapes = {
        "image_proj.proj.weight": (4 * 768, 8),
        "image_proj.norm.weight": (768,),
        "ip_adapter.1.to_k_ip.weight": (2, 768),
    }
    first = folder / "model.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, first)
    for k in range(number - 1):
        inner = folder / f"folder {k % 10}"
        inner.mkdir(exist_ok=True)
        os.link(first, inner / f"model {k:04}.safetensors")


def listing(folder: Path, number: int, times: int) -> dict[str, float]:
    """Seconds of the list: the first time, again in the same process, and in a new one."""
    models = folder / "models"
    write_models(models, number)

    def rows(files: ModelFiles) -> None:
        files.refresh()
        if len(listed(files, files.all(), describe)) != number:
            raise SystemExit("the list is not complete")

    files = ModelFiles([models], ModelIndex(folder / "list.json"))
    first = seconds(lambda: rows(files))
    again = [seconds(lambda: rows(files)) for _ in range(times)]
    new = [
        seconds(lambda: rows(ModelFiles([models], ModelIndex(folder / "list.json")))) for _ in range(times)
    ]
    return {
        "list_first": first,
        "list_again": statistics.median(again),
        "list_new": statistics.median(new),
    }


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    size = effort(options, smoke=64, quick=SIZE, full=SIZE)
    pairs, times = effort(options, smoke=(1, 1), quick=(3, 5), full=(11, 15))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_network(folder, effort(options, smoke=1, quick=1, full=2))
        figures = cached(folder, next(pictures(size)), times)
        figures["ten"], error = ten(folder, size, effort(options, smoke=2, quick=4, full=PICTURES), pairs)
        figures |= listing(folder / "list", effort(options, smoke=50, quick=MODELS, full=MODELS), times)
    return finish(Result("preprocess", figures, LIMITS, {"ten": error}), options)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(parser(__doc__ or "").parse_args()))
