"""The content of the demo: the control pictures, and the rows of the report with their requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.metrics import (
    PALETTE,
    colour_likeness,
    colour_names,
    edge_f1,
    edges,
    find_shapes,
    placement,
)
from lib_ctrlgen.train.tiny.data import held_out_scene
from lib_ctrlgen.train.tiny.scenes import draw

LAYOUT_SCENE, LOOK_SCENE = 17, 7
SIZE = 128
MODEL = "ctrlgen-tiny"
PROMPT = "a cross on a background"
STAR = "a red star on a blue background"
HALF = 0.35  # share of the steps in which the layout of the picture is decided
HELD = f"1@0 hold, 0@{HALF}"
ENTRIES = (0.1, 0.2, 0.3, 0.45)

Fields: TypeAlias = Mapping[str, Any]
Scores: TypeAlias = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the report: the fields of its request, and a text about what to look at.

    `each` holds fields that differ from picture to picture, with a caption for each picture. Where it is
    empty, the row shows the same request with several seeds.
    """

    name: str
    title: str
    text: str
    fields: Fields
    each: tuple[tuple[str, Fields], ...] = ()
    scored: str = "layout"

    @property
    def unit_texts(self) -> tuple[str, ...]:
        """Each unit's model and weight, or the prompts of a blend's concepts, as text."""
        units = self.fields.get("units", ())
        concepts = self.fields.get("blend", {}).get("concepts", ())
        weights = [f"{short(unit['model'])}: {unit.get('weight', 1)}" for unit in units]
        return (*weights, *(concept["prompt"] for concept in concepts))


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under one heading. `text` explains their scores."""

    title: str
    text: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The control pictures of the demo. Layout, look and sketch are RGB, edges and depth are grey."""

    layout: Image.Image
    edges: Image.Image
    depth: Image.Image
    look: Image.Image
    sketch: Image.Image

    def scores(self, image: Image.Image, scored: str = "layout") -> Scores:
        """The scores of a picture, each in 0..1; `scored` chooses which ones."""
        return SCORERS[scored](self, np.asarray(image))


def _layout_scores(sources: Sources, picture: NDArray[np.uint8]) -> Scores:
    """How well a picture follows the layout's edges and the look's colours."""
    return {
        "edges": round(edge_f1(picture, np.asarray(sources.edges)), 3),
        "colours": round(colour_likeness(picture, np.asarray(sources.look)), 3),
    }


def _sketch_scores(sources: Sources, picture: NDArray[np.uint8]) -> Scores:
    """Whether the shape is where the sketch has one, and whether it is the prompt's star."""
    kinds = [kind for _, kind in find_shapes(picture)[:1]]
    place = placement(picture, np.asarray(sources.sketch))
    return {"place": round(place, 3), "words": float(kinds == ["star"])}


def _side_scores(_sources: Sources, picture: NDArray[np.uint8]) -> Scores:
    """How much of the red is on the left half and of the blue on the right half."""
    colours, middle = colour_names(picture), picture.shape[1] // 2
    red, blue = (colours == list(PALETTE).index(name) for name in ("red", "blue"))
    right_places = int(red[:, :middle].sum()) + int(blue[:, middle:].sum())
    return {"sides": round(right_places / max(1, int(red.sum()) + int(blue.sum())), 3)}


def _no_scores(_sources: Sources, _picture: NDArray[np.uint8]) -> Scores:
    """No scores."""
    return {}


SCORERS = {"layout": _layout_scores, "sketch": _sketch_scores, "sides": _side_scores, "nothing": _no_scores}


def draw_sources() -> Sources:
    """Draw the held-out scenes, and a sketch: a square off the centre."""
    scene = held_out_scene(LAYOUT_SCENE)
    picture, depth = draw(scene, SIZE)
    square = replace(scene.shapes[0], kind="square", x=0.36, y=0.4, radius=0.27, angle=0.1)
    return Sources(
        layout=Image.fromarray(picture),
        edges=Image.fromarray(edges(picture)),
        depth=Image.fromarray(depth),
        look=Image.fromarray(draw(held_out_scene(LOOK_SCENE), SIZE)[0]),
        sketch=Image.fromarray(draw(replace(scene, shapes=(square,)), SIZE)[0]),
    )


def edge_unit(image: Image.Image, weight: float | str = 1.0) -> Fields:
    """A ControlNet on a picture's canny edges."""
    url = encode_image(image)
    return {"model": f"{MODEL}-edges", "image": url, "preprocessor": "canny", "weight": weight}


def depth_unit(sources: Sources, **fields: Any) -> Fields:
    """A ControlNet on the layout's depth."""
    return {"model": f"{MODEL}-depth", "image": encode_image(sources.depth), **fields}


def look_unit(sources: Sources, **fields: Any) -> Fields:
    """An IP-Adapter on the look."""
    return {"model": f"{MODEL}-ip", "image": encode_image(sources.look), **fields}


def sections(sources: Sources) -> tuple[Section, ...]:
    """The sections of the report, in order."""
    return (
        Section(
            title="One control at a time, then together",
            text="Columns share a seed. edges: agreement with the layout's outlines (F1 within 2 px). "
            "colours: share of colours in common with the look. Both are means over the row.",
            variants=control_rows(sources),
        ),
        Section(
            title="What only a schedule does",
            text="The sketch, a square, says where; the prompt, a star, says what. place: 1 where the "
            "shape's centre is the sketch's, 0 an eighth of the picture away. words: whether it is a star.",
            variants=schedule_rows(sources),
        ),
        Section(
            title="Two concepts",
            text="sides: how much of the red is on the left half, and of the blue on the right half.",
            variants=concept_rows(),
        ),
    )


def control_rows(sources: Sources) -> tuple[Variant, ...]:
    """Rows with each control alone, all three together, and all three with scheduled weights."""
    layout, look, near = edge_unit(sources.layout), look_unit(sources), depth_unit(sources)
    row = partial(_row, PROMPT)
    return (
        row("uncontrolled", "No control", "The prompt alone: every seed chooses its own layout and colours."),
        row(
            "edges",
            "Edges",
            "A ControlNet on the canny edges fixes the outlines; every seed has its own colours.",
            layout,
        ),
        row(
            "depth",
            "Depth",
            "A ControlNet on the depth map says what is near and what is far; the rest is free.",
            near,
        ),
        row(
            "reference",
            "IP-Adapter",
            "The colours come from a reference picture; the layout stays free.",
            look,
        ),
        row(
            "stacked",
            "All three, stacked",
            "Two ControlNets and the IP-Adapter in one list: the layout of one picture, the look of another.",
            edge_unit(sources.layout, 0.8),
            depth_unit(sources, weight=0.6),
            look,
        ),
        row(
            "scheduled",
            "The same, scheduled",
            "The layout is let go by 60 % and the reference comes in as a ramp: the cross keeps its place, "
            "and its outline may move, so edges is lower on purpose. Where that is wanted is shown below.",
            edge_unit(sources.layout, "1@0, 1@0.3 ease-in-out, 0@0.6"),
            depth_unit(sources, weight=0.6, guidance_end=0.5),
            look_unit(sources, weight="0.3>1"),
        ),
    )


def schedule_rows(sources: Sources) -> tuple[Variant, ...]:
    """A sketch at three constant weights and with a schedule, and a concept that enters late."""
    row = partial(_row, STAR, scored="sketch")
    square = "a blue square on a white background"
    late = "a red star on a white background"
    each = tuple(
        (f"from {entry:.0%}", {"prompt": f"{square} :1@0 hold, 0@{entry} AND {late} :0@0 hold, 1@{entry}"})
        for entry in ENTRIES
    )
    return (
        row(
            "traced",
            "A constant weight of 1",
            "The shape is where it should be, and it is the sketch's square: traced.",
            edge_unit(sources.sketch, 1.0),
        ),
        row(
            "loose",
            "A constant weight of 0.2",
            "The prompt gets its star, and the sketch's place is lost.",
            edge_unit(sources.sketch, 0.2),
        ),
        row(
            "between",
            "A constant weight of 0.45",
            "The place gets a little better, and the star is lost: no constant weight gives both.",
            edge_unit(sources.sketch, 0.45),
        ),
        row(
            "structure-first",
            f"The schedule {HELD}",
            "Full weight while the layout is decided, then none: the star is where the sketch says.",
            edge_unit(sources.sketch, HELD),
        ),
        Variant(
            name="late",
            title="A concept that enters late",
            text="One seed. AND weights in the prompt change from a blue square to a red star at a moment "
            "of the run: early, the star decides shape and colour; later, it can change less and less.",
            fields={},
            each=each,
            scored="nothing",
        ),
    )


def concept_rows() -> tuple[Variant, ...]:
    """A blend with a mask for each concept."""
    halves = np.tile(np.clip((np.arange(SIZE) - 0.45 * SIZE) / (0.1 * SIZE), 0, 1), (SIZE, 1))
    right = Image.fromarray((255 * halves).astype(np.uint8))
    left = Image.fromarray((255 * (1 - halves)).astype(np.uint8))
    concepts = [
        {"prompt": "a red circle on a white background", "mask": encode_image(left)},
        {"prompt": "a blue square on a white background", "mask": encode_image(right)},
    ]
    blend = {"mode": "prediction", "normalise": True, "concepts": concepts}
    return (
        Variant(
            name="blend",
            title="Each on its side",
            text="Two prompts in one picture, each with a soft mask of its half.",
            fields={"prompt": "", "blend": blend},
            scored="sides",
        ),
    )


def _row(prompt: str, name: str, title: str, text: str, *units: Fields, scored: str = "layout") -> Variant:
    """A row that shows one request with several seeds."""
    fields = {"prompt": prompt, "units": list(units)}
    return Variant(name=name, title=title, text=text, fields=fields, scored=scored)


def short(model: str) -> str:
    """A control's name without the model's."""
    return model.removeprefix(f"{MODEL}-")
