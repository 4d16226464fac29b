"""Is the bundled tiny model good enough to judge control by? On scenes it never saw.

Words: does a picture show the colours, shapes and background of its prompt. Edges and depth:
does it follow the ControlNet's map. Look: does it take the reference's colours, more and more
with the IP-Adapter's weight. Stacked: layout of one scene and look of another at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Limit, Result, at_least, effort, finish, parser
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.metrics import (
    colour_likeness,
    edge_f1,
    edges,
    find_shapes,
    prompt_accuracy,
    texture_likeness,
)
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.train.tiny.data import held_out_scene
from lib_ctrlgen.train.tiny.scenes import Scene, draw
from lib_ctrlgen.train.tiny.words import full_caption

SIZE, STEPS, GUIDANCE = 128, 20, 4.0
FIRST = 1000  # held-out scenes from here on: not the ones in the training previews
LOOK_OFFSET = 500  # a reference is the scene this much further on
LIMITS = {
    "words": at_least(0.8),
    "edges_1": at_least(0.7),
    "edges_gain": at_least(0.3),
    "look_rise_first": at_least(0.0),
    "look_rise_second": at_least(0.0),
    "stacked_edges": at_least(0.6),
    "stacked_look_gain": at_least(0.1),
}


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes one picture at a time with the bundled model, in `steps` steps."""

    engine: Engine
    steps: int = STEPS

    def picture(self, prompt: str, seed: int, units: Sequence[Mapping[str, Any]] = ()) -> np.ndarray:
        """A picture uint8 [128, 128, 3] for a prompt under units."""
        payload = {
            "model": NAME,
            "prompt": prompt,
            "width": SIZE,
            "height": SIZE,
            "steps": self.steps,
            "sampler": "DPM++ 2M",
            "cfg_scale": GUIDANCE,
            "seed": seed,
            "units": list(units),
        }
        made = self.engine.generate(parse_request(payload, GenerationRequest))
        return np.asarray(made.images[0].convert("RGB"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A held-out scene that gives words and layout, and another that gives the look."""

    index: int
    scene: Scene
    look: Scene

    @property
    def colourless(self) -> str:
        """The scene's shapes without a colour, so that colours come from elsewhere."""
        return " and ".join(f"a {shape.kind}" for shape in self.scene.shapes) + " on a background"

    def unit(self, model: str, weight: float) -> dict[str, Any]:
        """A control unit of the bundled model: `edges`, `depth` or `ip`."""
        picture, depth = draw(self.scene, SIZE)
        shown = {"edges": picture, "depth": depth, "ip": draw(self.look, SIZE)[0]}[model]
        more = {"preprocessor": "canny"} if model == "edges" else {}
        return {
            "model": f"{NAME}-{model}",
            "image": encode_image(Image.fromarray(shown)),
            "weight": weight,
            **more,
        }


def cases(count: int) -> Iterator[Case]:
    """The held-out scenes to judge by."""
    for index in range(count):
        look = held_out_scene(FIRST + LOOK_OFFSET + index)
        yield Case(index=index, scene=held_out_scene(FIRST + index), look=look)


def measure(case: Case, maker: Maker) -> dict[str, float]:
    """Every score of one case, each 0..1."""
    seed = case.index
    layout, look = draw(case.scene, SIZE)[0], draw(case.look, SIZE)[0]
    outlines = edges(layout)
    wanted = [(shape.colour, shape.kind) for shape in case.scene.shapes]
    told = maker.picture(full_caption(case.scene), seed)
    scores = {"words": prompt_accuracy(told, wanted, case.scene.background.colour)}
    scores["words_colours"], scores["words_shapes"] = named_apart(told, wanted)
    free = maker.picture(case.colourless, seed)
    scores["edges_0"] = edge_f1(free, outlines)
    scores["look_0"] = colour_likeness(free, look)
    for model in ("edges", "depth"):
        held = maker.picture(case.colourless, seed, [case.unit(model, 1.0)])
        scores[f"{model}_1"] = edge_f1(held, outlines)
    for weight in (0.5, 1.0):
        seen = maker.picture(case.colourless, seed, [case.unit("ip", weight)])
        scores[f"look_{weight:g}"] = colour_likeness(seen, look)
    scores["texture_1"] = texture_likeness(seen, look)
    scores["texture_0"] = texture_likeness(free, look)
    both = maker.picture(case.colourless, seed, [case.unit("edges", 1.0), case.unit("ip", 1.0)])
    scores["stacked_edges"] = edge_f1(both, outlines)
    scores["stacked_look"] = colour_likeness(both, look)
    return scores


def named_apart(picture: np.ndarray, wanted: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Which part of the colours and of the kinds of shapes is found, whoever has them; each 0..1."""
    found = list(zip(*find_shapes(picture), strict=True)) or [(), ()]
    parts = [
        sum(min(asked.count(name), have.count(name)) for name in set(asked)) / len(asked)
        for asked, have in zip(zip(*wanted, strict=True), found, strict=True)
    ]
    return float(parts[0]), float(parts[1])


def with_gains(row: Mapping[str, float]) -> dict[str, float]:
    """The scores of a scene, and how much each control adds to them."""
    return {
        **row,
        "edges_gain": row["edges_1"] - row["edges_0"],
        "depth_gain": row["depth_1"] - row["edges_0"],
        "look_rise_first": row["look_0.5"] - row["look_0"],
        "look_rise_second": row["look_1"] - row["look_0.5"],
        "stacked_look_gain": row["stacked_look"] - row["look_0"],
    }


def summary(rows: Sequence[Mapping[str, float]], limits: Mapping[str, Limit]) -> Result:
    """The means over the scenes, with their standard errors."""
    columns = {name: np.array([row[name] for row in rows]) for name in sorted(rows[0])}
    errors = {name: float(values.std(ddof=1)) / len(rows) ** 0.5 for name, values in columns.items()}
    means = {name: float(values.mean()) for name, values in columns.items()}
    return Result("tiny_model", means, limits, errors)


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    folder = options.model or tiny_folder()
    engine = Engine([folder], 1 << 30, Place.best(folder / "text"))
    maker = Maker(engine=engine, steps=effort(options, smoke=1, quick=STEPS, full=STEPS))
    count = effort(options, smoke=2, quick=6, full=options.seeds)
    rows = [with_gains(measure(case, maker)) for case in cases(count)]
    return finish(summary(rows, LIMITS), options)


if __name__ == "__main__":
    flags = parser(__doc__ or "")
    flags.add_argument("--model", type=Path, help="the model's folder; the bundled one by default")
    flags.add_argument("--seeds", type=int, default=32)
    sys.exit(main(flags.parse_args()))
