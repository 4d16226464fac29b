"""Do reference controls do what they promise? On the bundled tiny model, on scenes it never saw.

A prompt names shapes without colours; the reference is a picture of another scene. Measured is whether
masks keep the colours of two references to their halves, whether a fading schedule fades the likeness,
whether the style weight type takes the look and keeps a sketch's layout, whether StyleAligned makes the
colours of a batch agree, and whether the `reference` control raises the likeness without any adapter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Limit, Result, at_least, effort, finish, parser
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.metrics import colour_likeness, edge_f1, edges
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.train.tiny.data import held_out_scene
from lib_ctrlgen.train.tiny.scenes import draw

SIZE, STEPS, GUIDANCE = 128, 20, 4.0
FIRST, OTHER = 1000, 500  # the held-out scenes: from here on, and a reference's distance from its scene
BATCH = 4  # pictures whose colours StyleAligned is to make agree
FADES = ("0", "1 in 0..0.3", "1 in 0..0.6", "1")  # the adapter acts longer and longer
LIMITS = {
    "mask_apart": at_least(0.4),
    "fade_smallest_rise": at_least(0.0),
    "style_layout": at_least(0.7),
    "style_look_gain": at_least(0.2),
    "aligned_gain": at_least(0.3),
    "reference_gain": at_least(0.2),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prompt without colours, a seed, and the picture of another scene as the reference."""

    engine: Engine
    steps: int
    index: int

    @property
    def look(self) -> np.ndarray:
        """The reference, uint8 [128, 128, 3]."""
        return draw(held_out_scene(FIRST + OTHER + self.index), SIZE)[0]

    def unit(self, **fields: Any) -> dict[str, Any]:
        """A unit that sees the reference; the bundled IP-Adapter where the fields name no control."""
        own = {} if "control" in fields else {"model": f"{NAME}-ip"}
        return {**own, "image": encode_image(Image.fromarray(self.look)), **fields}

    def pictures(self, *units: Mapping[str, Any], batch: int = 1) -> list[np.ndarray]:
        """The pictures uint8 [128, 128, 3] of this prompt under units, of seeds that follow each other."""
        shapes = held_out_scene(FIRST + self.index).shapes
        payload = {
            "model": NAME,
            "prompt": " and ".join(f"a {shape.kind}" for shape in shapes) + " on a background",
            "width": SIZE,
            "height": SIZE,
            "steps": self.steps,
            "sampler": "DPM++ 2M",
            "cfg_scale": GUIDANCE,
            "seed": BATCH * self.index,
            "batch_size": batch,
            "units": list(units),
        }
        made = self.engine.generate(parse_request(payload, GenerationRequest))
        return [np.asarray(each.convert("RGB")) for each in made.images]

    def likeness(self, picture: np.ndarray) -> float:
        """How much of the reference's colours a picture has, 0..1."""
        return colour_likeness(picture, self.look)


def measure(case: Case) -> dict[str, float]:
    """Every score of one case."""
    (free,) = case.pictures()
    return {
        **masked(case),
        **faded(case),
        **styled(case, free),
        **aligned(case),
        **referenced(case, free),
    }


def masked(case: Case) -> dict[str, float]:
    """The likeness of each half to its own and to the other reference, where two units have a half each."""
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, : SIZE // 2] = 255
    looks = case.look, unlike(case.look)
    units = [
        case.unit(image=encode_image(Image.fromarray(look)), mask=encode_image(Image.fromarray(mask)))
        for look, mask in zip(looks, (left, 255 - left), strict=True)
    ]
    (made,) = case.pictures(*units)
    halves = made[:, : SIZE // 2], made[:, SIZE // 2 :]
    own = np.mean([colour_likeness(half, look) for half, look in zip(halves, looks, strict=True)])
    other = np.mean([colour_likeness(half, look) for half, look in zip(halves, looks[::-1], strict=True)])
    return {"mask_own": float(own), "mask_other": float(other), "mask_apart": float(own - other)}


def unlike(look: np.ndarray) -> np.ndarray:
    """The first held-out scene that has hardly a colour of this one."""
    scenes = (draw(held_out_scene(FIRST + OTHER + index), SIZE)[0] for index in count())
    return next(scene for scene in scenes if colour_likeness(scene, look) < 0.15)


def faded(case: Case) -> dict[str, float]:
    """The likeness while the adapter acts longer and longer."""
    made = [case.pictures(case.unit(weight=weight))[0] for weight in FADES]
    return {f"fade_{weight}": case.likeness(picture) for weight, picture in zip(FADES, made, strict=True)}


def styled(case: Case, free: np.ndarray) -> dict[str, float]:
    """How much of a sketch's outlines a picture keeps, and how much of the look it takes, by weight type."""
    sketch = draw(held_out_scene(FIRST + case.index), SIZE)[0]
    held = {"model": f"{NAME}-edges", "image": encode_image(Image.fromarray(sketch)), "preprocessor": "canny"}
    scores = {"free_look": case.likeness(free)}
    for kind, name in (("linear", "linear"), ("style transfer", "style"), ("composition", "composition")):
        (made,) = case.pictures(held, case.unit(params={"weight_type": kind}))
        scores |= {f"{name}_look": case.likeness(made), f"{name}_layout": edge_f1(made, edges(sketch))}
    return {**scores, "style_look_gain": scores["style_look"] - scores["composition_look"]}


def agreement(pictures: Sequence[np.ndarray]) -> float:
    """The mean likeness of the colours of two pictures of a batch, 0..1."""
    return float(np.mean([colour_likeness(one, other) for one, other in combinations(pictures, 2)]))


def aligned(case: Case) -> dict[str, float]:
    """How much the colours of a batch agree without and with StyleAligned."""
    apart = agreement(case.pictures(batch=BATCH))
    joined = agreement(case.pictures({"control": "style_aligned"}, batch=BATCH))
    return {"aligned_before": apart, "aligned_after": joined, "aligned_gain": joined - apart}


def referenced(case: Case, free: np.ndarray) -> dict[str, float]:
    """The likeness under the `reference` control, by each of its methods."""
    scores = {}
    for method in ("attention", "adain", "both"):
        unit = case.unit(control="reference", params={"method": method, "style_fidelity": 1.0})
        scores[f"reference_{method}"] = case.likeness(case.pictures(unit)[0])
    return {**scores, "reference_gain": scores["reference_both"] - case.likeness(free)}


def summary(rows: Sequence[Mapping[str, float]], limits: Mapping[str, Limit]) -> Result:
    """The means over the cases with their standard errors, and the smallest rise of the fading schedule."""
    columns = {name: np.array([row[name] for row in rows]) for name in sorted(rows[0])}
    errors = {name: float(values.std(ddof=1)) / len(rows) ** 0.5 for name, values in columns.items()}
    means = {name: float(values.mean()) for name, values in columns.items()}
    rising = [means[f"fade_{weight}"] for weight in FADES]
    return Result("references", {**means, "fade_smallest_rise": float(min(np.diff(rising)))}, limits, errors)


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    folder = options.model or tiny_folder()
    engine = Engine([folder], 1 << 30, Place.best(folder / "text"))
    steps = effort(options, smoke=2, quick=STEPS, full=STEPS)
    number = effort(options, smoke=2, quick=4, full=options.cases)
    rows = [measure(Case(engine=engine, steps=steps, index=index)) for index in range(number)]
    return finish(summary(rows, LIMITS), options)


if __name__ == "__main__":
    flags = parser(__doc__ or "")
    flags.add_argument("--model", type=Path, help="the model's folder; the bundled one by default")
    flags.add_argument("--cases", type=int, default=16)
    sys.exit(main(flags.parse_args()))
