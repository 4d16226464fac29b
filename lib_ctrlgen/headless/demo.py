"""`ctrlgen demo`: what stacked, scheduled controls do, on the bundled tiny model.

One scene gives the layout (its edges, its depth), another one the look. Both are drawn
by the tiny model's own generator from seeds that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.files import new_folder, save_picture, save_text
from lib_ctrlgen.images import encode_image
from lib_ctrlgen.metrics import colour_likeness, edge_f1, edges
from lib_ctrlgen.spec import GenerationRequest, parse_request
from lib_ctrlgen.train.data import held_out_scene
from lib_ctrlgen.train.scenes import draw

from .engine import Engine, Generation
from .load import Place
from .outputs import png_info
from .report import Cell, Figure, Grid, Report, Row, report_html, report_json
from .sampling import Progress

LAYOUT_SCENE, LOOK_SCENE = 17, 9
PROMPT = "a cross on a background"
SIZE = 128
STEPS = 20
PICTURES = 4
GUIDANCE = 4.0
WEIGHTS = (0.0, 0.4, 0.7, 1.0)
GRID_SEED = 0
MODEL = "ctrlgen-tiny"
BUDGET = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the report: a request, and what there is to see in it."""

    name: str
    title: str
    text: str
    units: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The pictures that steer. Layout and look are RGB, edges and depth grey."""

    layout: Image.Image
    edges: Image.Image
    depth: Image.Image
    look: Image.Image

    def scores(self, image: Image.Image) -> dict[str, float]:
        """How far a picture follows the layout's edges and the look's colours, 0..1."""
        picture = np.asarray(image)
        return {
            "edges": round(edge_f1(picture, np.asarray(self.edges)), 3),
            "colours": round(colour_likeness(picture, np.asarray(self.look)), 3),
        }


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demo wrote."""

    report: Path
    summary: Path
    pictures: int
    seconds: float


def draw_sources() -> Sources:
    """Draw the held-out scenes."""
    picture, depth = draw(held_out_scene(LAYOUT_SCENE), SIZE)
    return Sources(
        layout=Image.fromarray(picture),
        edges=Image.fromarray(edges(picture)),
        depth=Image.fromarray(depth),
        look=Image.fromarray(draw(held_out_scene(LOOK_SCENE), SIZE)[0]),
    )


def variants(sources: Sources) -> tuple[Variant, ...]:
    """What the report shows, row by row."""
    layout, depth, look = (encode_image(image) for image in (sources.layout, sources.depth, sources.look))
    edge = {"model": f"{MODEL}-edges", "image": layout, "preprocessor": "canny"}
    near = {"model": f"{MODEL}-depth", "image": depth}
    style = {"model": f"{MODEL}-ip", "image": look}
    return (
        Variant(
            name="uncontrolled",
            title="No control",
            text="The prompt alone: every seed chooses its own layout and colours.",
            units=(),
        ),
        Variant(
            name="edges",
            title="Edges",
            text="A ControlNet on the canny edges fixes the outlines; every seed has its own colours.",
            units=(edge,),
        ),
        Variant(
            name="depth",
            title="Depth",
            text="A ControlNet on the depth map says what is near and what is far; the rest is free.",
            units=(near,),
        ),
        Variant(
            name="reference",
            title="IP-Adapter",
            text="The colours come from a reference picture; the layout stays free.",
            units=(style,),
        ),
        Variant(
            name="stacked",
            title="All three, stacked",
            text="Two ControlNets and the IP-Adapter in one list: the layout of one picture, "
            "the look of another.",
            units=({**edge, "weight": 0.8}, {**near, "weight": 0.6}, style),
        ),
        Variant(
            name="scheduled",
            title="The same, scheduled",
            text="The layout is held at first and let go by 60 %; the reference comes in as a ramp.",
            units=(
                {**edge, "weight": "1@0, 1@0.3 ease-in-out, 0@0.6"},
                {**near, "weight": 0.6, "guidance_end": 0.5},
                {**style, "weight": "0.3>1"},
            ),
        ),
    )


def request_of(units: Sequence[Mapping[str, Any]], **more: Any) -> GenerationRequest:
    """The demo's request with these units."""
    payload = {
        "model": MODEL,
        "prompt": PROMPT,
        "width": SIZE,
        "height": SIZE,
        "steps": STEPS,
        "sampler": "DPM++ 2M",
        "cfg_scale": GUIDANCE,
        "batch_size": PICTURES,
        "units": list(units),
        **more,
    }
    return parse_request(payload, GenerationRequest)


def grid_request(sources: Sources, edge_weight: float, look_weight: float) -> GenerationRequest:
    """One cell of the grid: the edge ControlNet and the IP-Adapter at these weights."""
    _, edge, _, look, *_ = variants(sources)
    units = ({**edge.units[0], "weight": edge_weight}, {**look.units[0], "weight": look_weight})
    return request_of(units, batch_size=1, seed=GRID_SEED)


def run_demo(out: Path, models: Path, progress: Progress) -> Demo:
    """Make every picture, and write them with the report into `out`.

    `models` is the tiny model's folder. Raises HostError when `out` cannot be written.
    """
    start = perf_counter()
    new_folder(out)
    sources = draw_sources()
    rows = variants(sources)
    coords = [(edge, look) for edge in WEIGHTS for look in WEIGHTS]
    requests = [request_of(row.units) for row in rows]
    requests += [grid_request(sources, *weights) for weights in coords]
    engine = Engine([models], BUDGET, Place.best(models / "text"))
    made = list(zip(requests, generate_all(engine, requests, progress), strict=True))
    shelf = Shelf(out=out, sources=sources)
    report = Report(
        prompt=PROMPT,
        settings=f"{SIZE} x {SIZE} px, {STEPS} steps of DPM++ 2M, guidance {GUIDANCE:g}",
        sources=shelf.inputs(),
        rows=tuple(shelf.row(row, *item) for row, item in zip(rows, made[: len(rows)], strict=True)),
        grid=Grid(
            axes=(("units.0.weight", "Edges", WEIGHTS), ("units.1.weight", "IP-Adapter", WEIGHTS)),
            cells=tuple(shelf.cell(at, *item) for at, item in zip(coords, made[len(rows) :], strict=True)),
        ),
        seconds=round(perf_counter() - start, 1),
    )
    return Demo(
        report=save_text(report_html(report), out / "report.html"),
        summary=save_text(report_json(report), out / "report.json"),
        pictures=len(report.figures),
        seconds=report.seconds,
    )


def generate_all(
    engine: Engine, requests: Sequence[GenerationRequest], progress: Progress
) -> list[Generation]:
    """Run the requests one after another under one progress: a U-Net call of any of them is a step."""
    total = sum(request.steps for request in requests)
    made: list[Generation] = []
    for request in requests:
        done = sum(item.plan.steps for item in made)

        def tell(step: int, _calls: int, done: int = done) -> None:
            progress(done + step, total)

        made.append(engine.generate(request, tell))
    return made


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Puts pictures into the folder of a report, and says what the report shows of them."""

    out: Path
    sources: Sources

    def keep(self, image: Image.Image, file: str, caption: str = "", info: PngInfo | None = None) -> Figure:
        """Save a picture. Raises HostError."""
        save_picture(image, self.out / file, info)
        return Figure(file=file, image=image, caption=caption)

    def inputs(self) -> tuple[Figure, ...]:
        """The pictures that steer."""
        sources = self.sources
        return (
            self.keep(sources.layout, "inputs/layout.png", "layout"),
            self.keep(sources.edges, "inputs/edges.png", "its edges"),
            self.keep(sources.depth, "inputs/depth.png", "its depth"),
            self.keep(sources.look, "inputs/look.png", "look"),
        )

    def row(self, variant: Variant, request: GenerationRequest, made: Generation) -> Row:
        """A variant's pictures, control maps, plan and mean scores."""
        images = tuple(
            self.keep(
                image, f"images/{variant.name}-seed-{seed}.png", f"seed {seed}", png_info(request, seed)
            )
            for image, seed in zip(made.images, made.seeds, strict=True)
        )
        maps = tuple(
            self.keep(item.image, f"maps/{variant.name}-{item.index}-{item.model}.png", short(item.model))
            for item in made.control_maps
        )
        if request.units:
            save_text(made.plan.svg(), self.out / f"plans/{variant.name}.svg")
        return Row(
            name=variant.name,
            title=variant.title,
            text=variant.text,
            units=tuple(f"{short(unit.model)}: {unit.schedule}" for unit in request.units),
            images=images,
            maps=maps,
            scores=mean_scores([self.sources.scores(image) for image in made.images]),
            plan=made.plan.svg(600, 130) if request.units else "",
        )

    def cell(self, coords: tuple[float, ...], request: GenerationRequest, made: Generation) -> Cell:
        """A tile of the grid."""
        file = "grid/" + "-".join(f"{value:g}" for value in coords) + ".png"
        image = self.keep(made.images[0], file, info=png_info(request, request.seed))
        return Cell(coords=coords, image=image, scores=self.sources.scores(made.images[0]))


def short(model: str) -> str:
    """A control's name without the model's."""
    return model.removeprefix(f"{MODEL}-")


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over several pictures."""
    return {name: round(sum(item[name] for item in scores) / len(scores), 3) for name in scores[0]}
