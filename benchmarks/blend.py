"""Does a blend do what its weights say? On the bundled tiny model, over seeds.

Two concepts, a red circle and a blue square on a white ground, from all of the one to all of the
other: how blue the shape is, and whose outline it has. Then with masks: how much of what is
red lies on the left half, and of what is blue on the right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _harness import Result, at_least, effort, finish, parser
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.animation import sheet
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.metrics import PALETTE, colour_names
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

SIZE, STEPS, GUIDANCE = 128, 20, 4.0
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FIRST, LAST = "a red circle on a white background", "a blue square on a white background"
RED, BLUE, WHITE = (list(PALETTE).index(name) for name in ("red", "blue", "white"))
MODES = ("prediction", "embedding", "saliency")
SEVERAL = 8  # seeds; one batch each


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes the pictures of seeds 0, 1, ... as one batch, in so many steps."""

    engine: Engine
    seeds: int
    steps: int

    def pictures(self, blend: Mapping[str, Any]) -> list[Image.Image]:
        """The pictures under a blend, seed by seed."""
        payload = {
            "model": NAME,
            "width": SIZE,
            "height": SIZE,
            "steps": self.steps,
            "cfg_scale": GUIDANCE,
            "seed": 0,
            "batch_size": self.seeds,
            "blend": blend,
        }
        return list(self.engine.generate(parse_request(payload, GenerationRequest)).images)


def marked(image: Image.Image, colour: int) -> NDArray[np.bool_]:
    """Where a picture has this colour of the palette."""
    smooth = cv2.medianBlur(np.asarray(image.convert("RGB")), 5)
    return np.asarray(colour_names(np.asarray(smooth, np.uint8)) == colour)


def shown(image: Image.Image) -> NDArray[np.bool_]:
    """Where something stands on the white ground."""
    return ~marked(image, WHITE)


def blueness(image: Image.Image) -> float:
    """How much bluer than red what stands there is, -1..1; NaN where nothing stands."""
    pixels = np.asarray(image.convert("RGB"), np.float32)[shown(image)]
    return float((pixels[:, 2] - pixels[:, 0]).mean() / 255) if len(pixels) else float("nan")


def likeness(image: Image.Image, ends: Sequence[Image.Image]) -> float:
    """Whose outline it has: -1 the first end's, 1 the last end's (difference of overlaps, scaled)."""
    areas = [shown(each) for each in (image, *ends)]
    first, last = (overlap(areas[0], end) for end in areas[1:])
    return (last - first) / (1 - overlap(*areas[1:]) or 1.0)


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union; 0 where both are empty."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def sides(image: Image.Image) -> tuple[float, float]:
    """Of the red the part on the left half, of the blue the part on the right; NaN without any."""
    found = []
    for colour, half in ((RED, slice(0, SIZE // 2)), (BLUE, slice(SIZE // 2, SIZE))):
        mask = marked(image, colour)
        found.append(float(mask[:, half].sum() / mask.sum()) if mask.any() else float("nan"))
    return found[0], found[1]


def half(*, left: bool) -> str:
    """A mask of one half with a soft edge of a tenth of the width."""
    ramp = np.clip((np.arange(SIZE) - 0.45 * SIZE) / (0.1 * SIZE), 0, 1)
    row = 255 * (1 - ramp if left else ramp)
    return encode_image(Image.fromarray(np.tile(row.astype(np.uint8), (SIZE, 1))))


def walk(maker: Maker, mode: str) -> tuple[dict[str, float], list[Image.Image]]:
    """Scores of one mode over the weights, and the first seed's pictures."""
    rows = []
    for weight in WEIGHTS:
        concepts = [{"prompt": FIRST, "weight": 1 - weight}, {"prompt": LAST, "weight": weight}]
        rows.append(maker.pictures({"mode": mode, "concepts": concepts}))
    ends = list(zip(rows[0], rows[-1], strict=True))
    figures: dict[str, float] = {}
    for weight, row in zip(WEIGHTS, rows, strict=True):
        colours = [blueness(image) for image in row]
        shapes = [likeness(image, pair) for image, pair in zip(row, ends, strict=True)]
        figures[f"{mode}_colour_{weight:g}"] = float(np.nanmean(colours))
        figures[f"{mode}_shape_{weight:g}"] = float(np.mean(shapes))
    return figures, [row[0] for row in rows]


def rises(figures: Mapping[str, float], name: str) -> float:
    """The smallest step of a score from weight to weight."""
    values = [figures[f"{name}_{weight:g}"] for weight in WEIGHTS]
    return float(min(np.diff(values)))


def placed(maker: Maker) -> tuple[dict[str, float], list[Image.Image]]:
    """Both concepts at once, each on its half."""
    words = [("a red circle", True), ("a blue square", False)]
    concepts = [{"prompt": f"{what} on a white background", "mask": half(left=left)} for what, left in words]
    made = maker.pictures({"normalise": True, "concepts": concepts})
    free = maker.pictures({"normalise": True, "concepts": [{"prompt": FIRST}, {"prompt": LAST}]})
    figures: dict[str, float] = {}
    for name, images in (("masked", made), ("unmasked", free)):
        red, blue = (np.nanmean(values) for values in zip(*map(sides, images), strict=True))
        figures |= {f"{name}_red_left": float(red), f"{name}_blue_right": float(blue)}
    return figures, made[: len(WEIGHTS)]


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    folder = options.model or tiny_folder()
    engine = Engine([folder], 1 << 30, Place.best(folder / "text"))
    seeds = effort(options, smoke=1, quick=2, full=options.seeds)
    maker = Maker(engine=engine, seeds=seeds, steps=effort(options, smoke=1, quick=STEPS, full=STEPS))
    figures: dict[str, float] = {}
    rows: list[Sequence[Image.Image]] = []
    for mode in MODES:
        found, shown = walk(maker, mode)
        figures |= found
        rows.append(shown)
    for mode in ("prediction", "embedding"):
        for name in ("colour", "shape"):
            figures[f"{mode}_{name}_rise"] = rises(figures, f"{mode}_{name}")
    found, shown = placed(maker)
    figures |= found
    if options.sheet:
        whole = [image for row in (*rows, (*shown, *shown)[: len(WEIGHTS)]) for image in row]
        sheet(whole, len(WEIGHTS)).save(options.sheet)
    rising = [f"{mode}_{name}_rise" for mode in ("prediction", "embedding") for name in ("colour", "shape")]
    limits = dict.fromkeys(rising, at_least(0.0))
    limits |= {"masked_red_left": at_least(0.8), "masked_blue_right": at_least(0.8)}
    return finish(Result("blend", figures, limits), options)


if __name__ == "__main__":
    flags = parser(__doc__ or "")
    flags.add_argument("--model", type=Path, help="the model's folder; the bundled one by default")
    flags.add_argument("--seeds", type=int, default=SEVERAL)
    flags.add_argument("--sheet", type=Path, help="write the first seed's pictures there, a row per mode")
    sys.exit(main(flags.parse_args()))
