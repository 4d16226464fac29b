"""`ctrlgen demo`: shows stacked and scheduled controls on the bundled tiny model.

`demo_rows` holds the content. This file makes the pictures and writes them with the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.files import new_folder, save_picture, save_text
from lib_ctrlgen.plots.plan_view import plan_svg
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .checkpoints.load import Place
from .demo_rows import (
    MODEL,
    PROMPT,
    SIZE,
    Sources,
    Variant,
    draw_sources,
    edge_unit,
    look_unit,
    sections,
    short,
)
from .engine import Engine, Generation
from .outputs import picture_infos
from .report import Cell, Figure, Grid, Report, Row, Section, report_html, report_json
from .sampling.run import Progress

STEPS = 20
PICTURES = 4
GUIDANCE = 4.0
WEIGHTS = (0.0, 0.4, 0.7, 1.0)
GRID_SEED = 0
LATE_SEED = 0
BUDGET = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The files and the timing of a finished demo."""

    report: Path
    summary: Path
    pictures: int
    seconds: float


def request_of(fields: Mapping[str, Any], **more: Any) -> GenerationRequest:
    """The demo's request with these fields."""
    payload = {
        "model": MODEL,
        "width": SIZE,
        "height": SIZE,
        "steps": STEPS,
        "sampler": "DPM++ 2M",
        "cfg_scale": GUIDANCE,
        "batch_size": PICTURES,
        **fields,
        **more,
    }
    return parse_request(payload, GenerationRequest)


def row_requests(variant: Variant) -> tuple[GenerationRequest, ...]:
    """The requests of a row: one with several seeds, or one for each of the variant's pictures."""
    if not variant.each:
        return (request_of(variant.fields),)
    own = ({**variant.fields, **fields} for _, fields in variant.each)
    return tuple(request_of(fields, batch_size=1, seed=LATE_SEED) for fields in own)


def grid_request(sources: Sources, edge_weight: float, look_weight: float) -> GenerationRequest:
    """One cell of the grid: the edge ControlNet and the IP-Adapter at these weights."""
    units = [edge_unit(sources.layout, edge_weight), look_unit(sources, weight=look_weight)]
    return request_of({"prompt": PROMPT, "units": units}, batch_size=1, seed=GRID_SEED)


def run_demo(out: Path, models: Path, progress: Progress, threads: int = 0) -> Demo:
    """Generate every picture of the demo, and write them with the report into `out`.

    `models` is the tiny model's folder; `threads` is the number of CPU threads (0: the fastest is measured).
    Raises HostError when `out` cannot be written.
    """
    start = perf_counter()
    new_folder(out)
    sources = draw_sources()
    all_sections = sections(sources)
    coords = [(edge, look) for edge in WEIGHTS for look in WEIGHTS]
    groups = [row_requests(variant) for section in all_sections for variant in section.variants]
    groups += [(grid_request(sources, *weights),) for weights in coords]
    engine = Engine([models], BUDGET, Place.best(models / "text"), threads)
    made = iter(generate_all(engine, [request for group in groups for request in group], progress))
    finished = iter([tuple((request, next(made)) for request in group) for group in groups])
    writer = Writer(out=out, sources=sources)
    report = Report(
        prompt=PROMPT,
        settings=f"{SIZE} x {SIZE} px, {STEPS} steps of DPM++ 2M, guidance {GUIDANCE:g}",
        sources=writer.inputs(),
        sections=tuple(
            Section(
                title=section.title,
                text=section.text,
                rows=tuple(writer.row(variant, next(finished)) for variant in section.variants),
            )
            for section in all_sections
        ),
        grid=Grid(
            axes=(("units.0.weight", "Edges", WEIGHTS), ("units.1.weight", "IP-Adapter", WEIGHTS)),
            cells=tuple(writer.cell(at, *next(finished)[0]) for at in coords),
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
    """Generate the requests one after another; one progress counts the U-Net calls of all of them."""
    total = sum(request.steps for request in requests)
    made: list[Generation] = []
    for request in requests:
        done = sum(item.plan.steps for item in made)

        def report(step: int, _calls: int, done: int = done) -> None:
            progress(done + step, total)

        made.append(engine.generate(request, report))
    return made


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Saves the pictures of a report, and builds the report's rows and cells from them."""

    out: Path
    sources: Sources

    def keep(self, image: Image.Image, file: str, caption: str = "", info: PngInfo | None = None) -> Figure:
        """Save a picture. Raises HostError."""
        save_picture(image, self.out / file, info)
        return Figure(file=file, image=image, caption=caption)

    def inputs(self) -> tuple[Figure, ...]:
        """The control pictures of the demo."""
        sources = self.sources
        return (
            self.keep(sources.layout, "inputs/layout.png", "layout"),
            self.keep(sources.edges, "inputs/edges.png", "its edges"),
            self.keep(sources.depth, "inputs/depth.png", "its depth"),
            self.keep(sources.look, "inputs/look.png", "look"),
            self.keep(sources.sketch, "inputs/sketch.png", "sketch"),
        )

    def row(self, variant: Variant, made: Sequence[tuple[GenerationRequest, Generation]]) -> Row:
        """A variant's pictures, control maps, plan and mean scores."""
        request, generation = made[0]
        pictures = [*self.pictures(variant, made)]
        scores = [self.sources.scores(figure.image, variant.scored) for figure in pictures]
        maps = tuple(
            self.keep(item.image, f"maps/{variant.name}-{item.index}-{item.model}.png", short(item.model))
            for item in generation.control_maps
        )
        if request.units:
            save_text(plan_svg(generation.plan), self.out / f"plans/{variant.name}.svg")
        return Row(
            name=variant.name,
            title=variant.title,
            text=variant.text,
            units=variant.unit_texts,
            images=tuple(pictures),
            maps=maps,
            scores=mean_scores(scores),
            plan=plan_svg(generation.plan, 600, 130) if request.units else "",
        )

    def pictures(
        self, variant: Variant, made: Sequence[tuple[GenerationRequest, Generation]]
    ) -> Iterator[Figure]:
        """The pictures of a row, saved under names that hold their seed or caption."""
        captions = [caption for caption, _ in variant.each]
        for number, (request, generation) in enumerate(made):
            infos = picture_infos(request, generation)
            for image, seed, info in zip(generation.images, generation.seeds, infos, strict=True):
                caption = captions[number] if captions else f"seed {seed}"
                mark = f"{number}-seed-{seed}" if captions else f"seed-{seed}"
                file = f"images/{variant.name}-{mark}.png"
                yield self.keep(image, file, caption, info)

    def cell(self, coords: tuple[float, ...], request: GenerationRequest, made: Generation) -> Cell:
        """A tile of the grid."""
        file = "grid/" + "-".join(f"{value:g}" for value in coords) + ".png"
        image = self.keep(made.images[0], file, info=picture_infos(request, made)[0])
        return Cell(coords=coords, image=image, scores=self.sources.scores(made.images[0]))


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over several pictures."""
    return {name: round(sum(item[name] for item in scores) / len(scores), 3) for name in scores[0]}
