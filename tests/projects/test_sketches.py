"""Hand-drawn sheets and what becomes of them: cleaned lines, regions, control maps."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.images.metrics import edges, map_f1
from lib_ctrlgen.preprocessors import segmentation
from lib_ctrlgen.projects.blueprint.cleaning import CleanDrawing, cleaned
from lib_ctrlgen.projects.blueprint.maps import MAPS, lines_at, map_picture
from lib_ctrlgen.projects.blueprint.regions import COLOURS, NAMES, classes_of, depth_of, kind_of
from lib_ctrlgen.projects.blueprint.sketches.sketch import Sketch, draw_sketch

SIZE = (512, 384)
SEEDS = range(6)
NEAR = 3  # pixels: lines are up to two pixels wide at this size


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Sketch, CleanDrawing]]:
    sketches = [draw_sketch(seed, size=SIZE) for seed in SEEDS]
    return [(sketch, cleaned(Image.fromarray(sketch.picture))) for sketch in sketches]


def f1(lines: NDArray[np.bool_], truth: NDArray[np.uint8]) -> float:
    return map_f1(lines.astype(np.uint8) * 255, truth, NEAR)


def test_a_seed_is_a_sketch() -> None:
    one, same, other = (draw_sketch(seed, "plan", (128, 96)) for seed in (0, 0, 2))
    assert np.array_equal(one.picture, same.picture)
    assert np.array_equal(one.lines, same.lines)
    assert not np.array_equal(one.lines, other.lines)
    assert {draw_sketch(seed, size=(64, 64)).drawing.kind for seed in (0, 1)} == {"plan", "elevation"}


def test_a_sketch_is_no_clean_drawing() -> None:
    """Edges of the scan itself are far from the true lines, so cleaning has something to do."""
    sketches = [draw_sketch(seed, size=SIZE) for seed in SEEDS]
    raw = [f1(edges(sketch.picture) > 0, sketch.lines) for sketch in sketches]
    assert np.mean(raw) < 0.93
    assert max(abs(sketch.scan.tilt) for sketch in sketches) > 1


def test_cleaning_finds_the_true_lines_and_the_tilt(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    found = [f1(clean.lines, sketch.lines) for sketch, clean in drawn]
    assert min(found) > 0.97
    for sketch, clean in drawn:
        assert abs(clean.tilt - sketch.scan.tilt) < 0.15
        assert not clean.inverted


def test_a_dark_desk_around_the_sheet_is_no_line(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    for sketch, _ in drawn:
        turned = Image.fromarray(sketch.picture).rotate(-sketch.scan.tilt, Image.Resampling.BICUBIC)
        assert f1(cleaned(turned).lines, sketch.lines) > 0.95  # the corners are black


def test_shading_is_removed(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    """The roof of an elevation is hatched; inside its outline nothing is left."""
    sketch, clean = next(pair for pair in drawn if pair[0].drawing.kind == "elevation")
    area = sketch.drawing.shaded[0] * SIZE
    middle, inner = area.mean(0), 0.5 * np.ptp(area, axis=0)
    left, top = (middle - inner / 2).astype(int)
    right, bottom = (middle + inner / 2).astype(int)
    assert np.asarray(sketch.picture)[top:bottom, left:right].std() > 2  # hatching and grain
    assert not clean.lines[top:bottom, left:right].any()


def test_light_lines_on_dark_paper_are_lines_too(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    sketch, _ = drawn[0]
    clean = cleaned(Image.fromarray(255 - sketch.picture))
    assert clean.inverted
    assert f1(clean.lines, sketch.lines) > 0.9
    assert np.asarray(clean.picture).mean() > 200  # black on white


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_sheet_has_no_lines(level: int) -> None:
    noise = np.random.default_rng(0).normal(level, 2, (96, 128, 1)).clip(0, 255).astype(np.uint8)
    assert cleaned(Image.fromarray(np.repeat(noise, 3, 2))).share == 0
    assert (depth_of(np.zeros((96, 128), np.bool_)) == depth_of(np.zeros((96, 128), np.bool_))[0, 0]).all()


def test_plans_and_elevations_are_told_apart(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    assert [kind_of(clean.lines) for _, clean in drawn] == [sketch.drawing.kind for sketch, _ in drawn]


def test_regions_are_what_they_look_like(drawn: list[tuple[Sketch, CleanDrawing]]) -> None:
    doors = 0
    for sketch, clean in drawn:
        names = {NAMES[index] for index in np.unique(classes_of(clean.lines))}
        wanted = {
            "plan": {"ground around a plan", "room", "wall"},
            "elevation": {"sky", "ground", "building", "window"},
        }[sketch.drawing.kind]
        doors += "door" in names
        assert names - {"door"} == wanted
        assert NAMES[classes_of(clean.lines)[2, 2]] in {"ground around a plan", "sky"}
    assert doors >= 2  # of three; a door that the ground line hides is a window


def test_depth_is_nearer_for_walls_than_for_rooms_and_for_houses_than_for_the_sky(
    drawn: list[tuple[Sketch, CleanDrawing]],
) -> None:
    for _, clean in drawn:
        depth, classes = depth_of(clean.lines), classes_of(clean.lines)
        by_name = {NAMES[index]: int(np.median(depth[classes == index])) for index in np.unique(classes)}
        order = [
            ["ground around a plan", "room", "wall"],
            ["sky", "ground", "window", "building"],
        ]
        for names in order:
            values = [by_name[name] for name in names if name in by_name]
            assert values == sorted(set(values))


def test_the_colours_of_segments_are_those_of_ade20k() -> None:
    known = json.loads(Path(segmentation.COLOURS).read_text("utf-8"))["ade20k"].split()
    assert {f"{r:02x}{g:02x}{b:02x}" for r, g, b in COLOURS.tolist()} <= set(known)


def test_every_kind_has_a_map_of_the_size_and_depth_has_no_new_edges(
    drawn: list[tuple[Sketch, CleanDrawing]],
) -> None:
    _, clean = drawn[1]
    lines = lines_at(clean.lines, (160, 128))  # another shape than the sheet's
    assert lines.shape == (128, 160)
    assert not lines[:3].any()  # the sheet is wider: above and below it is paper
    for kind in MAPS:
        picture = map_picture(kind, clean, lines)
        assert picture.size == (160, 128)
        assert len(set(picture.convert("L").tobytes())) > 1
    thin = np.asarray(map_picture("edges", clean, lines).convert("L")) > 0
    assert np.array_equal(thin, lines)
    colours = np.asarray(map_picture("segmentation", clean, lines)).reshape(-1, 3)
    assert {tuple(colour) for colour in colours.tolist()} <= {tuple(each) for each in COLOURS.tolist()}
