"""Control maps are told from photos and drawings by a small copy."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from lib_ctrlgen.images.map_look import map_look
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.preprocessors.canny import Canny
from lib_ctrlgen.preprocessors.scribble_xdog import ScribbleXDoG
from tests.support import control_files as files
from tests.support.drawn_face import drawn_face
from tests.support.poses import document


def look(picture: Image.Image) -> str:
    """What the panel's copy of a picture looks like."""
    return map_look(picture.convert("RGB").resize((48, 48), Image.Resampling.NEAREST))


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = BytesIO()
    picture.save(file, "JPEG", quality=80)
    return Image.open(file)


def normals() -> Image.Image:
    """A ball on a wall."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    ball = np.where((z > 0.3)[..., None], np.stack([x, -y, z], -1), (0, 0, 1))
    return Image.fromarray(((ball + 1) * 127.5).round().astype(np.uint8))


@pytest.mark.parametrize("size", [(200, 400), (512, 512), (512, 768)])
def test_a_skeleton_is_found(size: tuple[int, int]) -> None:
    skeleton = draw(pose_of(document()), size)
    assert [look(skeleton), look(as_jpeg(skeleton)), look(ImageOps.mirror(skeleton))] == ["skeleton"] * 3


def test_lines_and_normals_are_found() -> None:
    face = drawn_face()
    for made in (Canny()(face, low_threshold=100, high_threshold=200), ScribbleXDoG()(face, threshold=32)):
        assert [look(made), look(as_jpeg(made)), look(ImageOps.invert(made))] == ["lines", "lines", ""]
    assert [look(normals()), look(as_jpeg(normals()))] == ["normals", "normals"]


def pictures() -> list[Image.Image]:
    """Pictures that are none of these: photos, drawings, a disc on black, coloured lights at night."""
    disc = Image.new("RGB", (256, 256))
    ImageDraw.Draw(disc).ellipse((90, 90, 160, 160), "white")
    random = np.random.default_rng(0)
    lights = np.zeros((64, 64, 3), np.uint8)
    lights[::3, ::4] = random.integers(0, 256, (22, 16, 3))
    scene = Image.new("RGB", (256, 256), (10, 12, 30))
    ImageDraw.Draw(scene).polygon([(20, 200), (128, 30), (230, 200)], "red", "yellow")
    smooth = [files.picture(256, 256, seed) for seed in range(3)]
    return [drawn_face(), disc, Image.fromarray(lights), scene, Image.new("RGB", (64, 64)), *smooth]


@pytest.mark.parametrize("picture", pictures())
def test_photos_and_drawings_are_not_taken_for_maps(picture: Image.Image) -> None:
    dark, loud = ImageEnhance.Brightness(picture).enhance(0.2), ImageEnhance.Contrast(picture).enhance(3)
    grey = ImageOps.grayscale(picture)
    garish = ImageEnhance.Color(ImageEnhance.Brightness(loud).enhance(0.6)).enhance(5)
    assert [look(each) for each in (picture, grey, dark, loud, garish)] == [""] * 5
