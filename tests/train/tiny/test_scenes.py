"""The drawn scenes on which the tiny model is trained."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib_ctrlgen.images.metrics import edges, find_scene
from lib_ctrlgen.train.tiny.scenes import (
    COLOURS,
    SHAPES,
    TEXTURES,
    Scene,
    draw,
    outline,
    random_scene,
    same_look,
)
from lib_ctrlgen.train.tiny.words import caption, full_caption


def scene_of(seed: int) -> Scene:
    return random_scene(np.random.default_rng(seed))


def test_a_seed_is_a_scene_and_a_scene_is_a_picture() -> None:
    assert scene_of(5) == scene_of(5) != scene_of(6)
    first, again = draw(scene_of(5), 128), draw(scene_of(5), 128)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("size", [64, (96, 160), 256])
def test_sizes(size: int | tuple[int, int]) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    picture, depth = draw(scene_of(1), size)
    assert picture.shape == (height, width, 3)
    assert depth.shape == (height, width)
    assert picture.dtype == depth.dtype == np.uint8


def test_every_word_occurs() -> None:
    scenes = [scene_of(seed) for seed in range(300)]
    assert {shape.kind for scene in scenes for shape in scene.shapes} == set(SHAPES)
    assert {scene.background.texture for scene in scenes} == set(TEXTURES)
    assert {scene.background.colour for scene in scenes} == set(COLOURS)
    for scene in scenes:
        names = [scene.background.colour, *(shape.colour for shape in scene.shapes)]
        assert len(set(names)) == len(names)


def test_textures_are_soft_enough_for_canny() -> None:
    """Without shapes there is nothing to find."""
    for seed in range(60):
        bare = replace(scene_of(seed), shapes=())
        assert edges(draw(bare, 128)[0]).mean() < 1, bare.background


def test_nearer_shapes_cover_farther_ones_and_are_brighter_in_depth() -> None:
    found = 0
    for seed in range(80):
        scene = scene_of(seed)
        depths = [shape.depth for shape in scene.shapes]
        assert depths == sorted(depths)
        picture, depth = draw(scene, 128)
        bare = draw(replace(scene, shapes=()), 128)
        changed = np.abs(picture.astype(int) - bare[0]).max(-1) > 40
        found += int(changed.sum())
        assert (depth[changed] > bare[1][changed]).mean() > 0.97
    assert found > 0


def test_another_layout_with_the_same_look() -> None:
    scene = scene_of(3)
    other = same_look(scene, np.random.default_rng(9))
    assert {s.rgb for s in other.shapes} == {s.rgb for s in scene.shapes}
    assert other.background.rgb == scene.background.rgb
    assert other.background.texture == scene.background.texture
    assert [(s.x, s.y) for s in other.shapes] != [(s.x, s.y) for s in scene.shapes]


def test_captions_name_what_is_there_and_nothing_else() -> None:
    words = {*COLOURS, *SHAPES}
    for seed in range(100):
        scene, rng = scene_of(seed), np.random.default_rng(seed)
        true = {word for s in scene.shapes for word in (s.colour, s.kind)} | {scene.background.colour}
        assert set(full_caption(scene).split()) & words == true
        assert set(caption(scene, rng).split()) & words <= true
        plain = set(caption(scene, rng, looks=False).split())
        assert not plain & (set(COLOURS) | {"striped", "dotted", "stripes", "dots", "noise"})


def test_analysis_reads_back_what_was_drawn() -> None:
    """The measure that judges the model must itself be right on true pictures."""
    right = total = 0
    for seed in range(60):
        scene = scene_of(seed)
        seen = find_scene(draw(scene, 128)[0])
        wanted = sorted((s.colour, s.kind) for s in scene.shapes)
        right += sorted((s.colour, s.kind) for s in seen.shapes) == wanted
        right += seen.background == scene.background.colour
        total += 2
    assert right / total > 0.95


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="circle, square"):
        outline("blob")


def test_outlines_are_about_radius_one() -> None:
    for kind in SHAPES:
        loops = outline(kind)
        assert 0.8 < max(np.linalg.norm(loop, axis=1).max() for loop in loops) < 1.35
        assert cv2.contourArea(loops[0].astype(np.float32)) > 0.5
