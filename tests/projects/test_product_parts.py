"""The parts of `ctrlgen product` that generate nothing: views, places, environments, diagnosis of data."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from lib_ctrlgen.errors import HostError, RequestError, StoppedError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.images.backdrop import on_plain_background
from lib_ctrlgen.projects.product.diagnosis.data import data_findings
from lib_ctrlgen.projects.product.diagnosis.finding import Finding, finding, first_problem
from lib_ctrlgen.projects.product.diagnosis.weight import WeightCurve, weight_findings
from lib_ctrlgen.projects.product.environments import (
    BUILT_IN,
    Environment,
    environments_of,
    line_of,
    read_environments,
    text_environments,
)
from lib_ctrlgen.projects.product.identity import Threshold
from lib_ctrlgen.projects.product.placement import NEAR, placed
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.projects.product.training import Trainer, spec_for
from lib_ctrlgen.projects.product.views import ProductFolders, read_views, stage
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.checkpoint import NAME
from lib_ctrlgen.train.dataset.problems import Problems
from lib_ctrlgen.train.dataset.scan import scan
from lib_ctrlgen.train.run import folder_of
from lib_ctrlgen.train.tiny.subject import subject_views, write_views
from tests.support import stranger

Change = Callable[[Image.Image, int], Image.Image]


def bad_findings(folder: Path, side: int = 128) -> set[str]:
    views = read_views(ProductFolders.of(folder), side)
    return {each.name for each in data_findings(views, side) if each.bad}


def write(folder: Path, count: int, change: Change, *, masks: bool = False) -> None:
    """Write changed views of the ball."""
    write_views(subject_views(0, count), folder)
    for number, path in enumerate(sorted((folder / "pictures").glob("*.png"))):
        change(Image.open(path).convert("RGB"), number).save(path)
    if not masks:
        for path in (folder / "masks").iterdir():
            path.unlink()


def as_it_is(picture: Image.Image, _number: int) -> Image.Image:
    return picture


def on_grey(picture: Image.Image, number: int) -> Image.Image:
    """Before the same background, with a stripe so that it is not plain."""
    mask = Image.fromarray(subject_views(0)[number].mask)
    behind = Image.new("RGB", picture.size, (90, 100, 110))
    behind.paste((240, 30, 30), (0, 0, 128, 6))
    behind.paste((20, 20, 240), (0, 122, 128, 128))
    return Image.composite(picture, behind, mask)


def noisy(picture: Image.Image, number: int) -> Image.Image:
    """The first view again, as if it had been photographed twice from one place."""
    first = np.asarray(Image.fromarray(subject_views(0)[0].picture), np.int16)
    noise = np.random.default_rng(number).integers(-9, 10, first.shape)
    return Image.fromarray(np.clip(first + noise, 0, 255).astype(np.uint8))


def test_good_views_have_no_problem(tmp_path: Path) -> None:
    write(tmp_path, 12, as_it_is, masks=True)
    assert bad_findings(tmp_path) == set()


@pytest.mark.parametrize(
    ("problem", "count", "change", "side"),
    [
        ("few-views", 4, as_it_is, 128),
        ("same-view", 9, noisy, 128),
        ("one-background", 12, on_grey, 128),
        ("blur", 9, lambda picture, _number: picture.filter(ImageFilter.GaussianBlur(5)), 128),
        ("small-pictures", 9, as_it_is, 512),
    ],
)
def test_bad_data_is_named(problem: str, count: int, change: Change, side: int, tmp_path: Path) -> None:
    write(tmp_path, count, change)
    assert problem in bad_findings(tmp_path, side)


def test_a_product_that_is_small_in_its_pictures(tmp_path: Path) -> None:
    def far_away(picture: Image.Image, number: int) -> Image.Image:
        behind = Image.new("RGB", (400, 400), (20 * number, 90, 200 - 20 * number))
        behind.paste(picture.crop((34, 34, 94, 94)), (170, 170))
        return behind

    write(tmp_path, 9, far_away)
    assert "product-size" in bad_findings(tmp_path)


def test_a_strangers_folder_is_told_by_name(tmp_path: Path) -> None:
    stranger.write_folder(tmp_path)
    views = read_views(ProductFolders.of(tmp_path), 128)
    told = "\n".join(map(str, views.refused))
    for name in ("broken.png", "empty.png", "huge.png", "invisible.png", "small.png"):
        assert name in told
    assert "is the same picture as" in told
    assert "duplicates" in {each.name for each in data_findings(views, 128) if each.bad}


def test_two_hundred_pictures_and_one(tmp_path: Path) -> None:
    for number in range(200):
        Image.new("RGB", (40, 40), (number, 255 - number, 30)).save(tmp_path / f"{number:03}.png")
    views = read_views(ProductFolders.of(tmp_path), 64)
    assert (len(views.views), len(views.held_out), len(views.training)) == (200, 2, 198)
    (tmp_path / "one").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "one" / "only.png")
    only = read_views(ProductFolders.of(tmp_path / "one"), 64)
    assert (len(only.training), only.held_out) == (1, ())
    with pytest.raises(HostError, match=r"only\.png: 64 x 64 pixels are too few for a size of 1024"):
        read_views(ProductFolders.of(tmp_path / "one"), 1024)
    with pytest.raises(HostError, match="does not exist"):
        ProductFolders.of(tmp_path, masks=tmp_path / "missing")


def test_the_training_holds_out_the_same_views(tmp_path: Path) -> None:
    """The copy that is trained on has the views in their order, with masks and captions."""
    write_views(subject_views(0), tmp_path / "ball")
    views = read_views(ProductFolders.of(tmp_path / "ball"), 128)
    assert list(stage(views, tmp_path / "out" / "views")) == []
    spec = spec_for(tmp_path / "out", ProductSettings(), views, "ctrlgen-tiny-ip", 128, None, {"steps": 3})
    assert (spec.steps, spec.hold_out, spec.background) == (3, 2, "random")
    staged = scan(spec.pictures, spec.masks, spec.resolution, spec.caption, Problems())
    assert [each.path.stem for each in staged] == [
        f"{k:04}-{v.source.name}" for k, v in enumerate(views.views)
    ]
    assert staged[0].caption == subject_views(0)[0].caption
    with pytest.raises(RequestError, match="--train out: is decided by the project"):
        spec_for(tmp_path, ProductSettings(), views, "a", 128, None, {"out": "x"})


def test_other_views_begin_the_training_anew_and_the_same_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the training notes whether it finds a checkpoint of before, and leaves one."""
    found: list[bool] = []

    def train(spec: TrainingSpec, engine: object, *_: object) -> SimpleNamespace:
        checkpoint = folder_of(spec) / NAME
        found.append(checkpoint.is_file())
        save_text("", checkpoint)
        if engine == "stops":
            raise StoppedError("stopped")
        save_text("", Path(spec.out))
        return SimpleNamespace(step=3, warnings=())

    def adapter(engine: Any) -> None:
        views = read_views(ProductFolders.of(tmp_path / "ball"), 64)
        trainer = Trainer(out=out, engine_for=lambda _: engine, tell=print, progress=lambda *_: None)
        trainer.adapter(spec_for(out, ProductSettings(), views, "a", 64, None, {}), views)

    monkeypatch.setattr("lib_ctrlgen.projects.product.training.train", train)
    out = tmp_path / "out"
    write_views(subject_views(0)[:4], tmp_path / "ball")
    with pytest.raises(StoppedError):
        adapter("stops")
    adapter("ends")
    adapter("is not asked")
    assert found == [False, True]
    write_views(subject_views(0)[:5], tmp_path / "ball")
    with pytest.raises(StoppedError):
        adapter("stops")
    adapter("ends")
    assert found == [False, True, False, True]


@given(
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    share=st.floats(0.1, 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_the_product_is_placed_inside_and_nearest(
    x: float, y: float, share: float, shape: tuple[int, int]
) -> None:
    mask = np.zeros((50, 50), bool)
    mask[3 : 3 + shape[0], 5 : 5 + shape[1]] = True
    found = placed(Environment(prompt="there", x=x, y=y, share=share), mask, 64)
    depth = np.asarray(found.depth.convert("L"))
    near = np.argwhere(depth >= NEAR - 1)
    left, top, right, bottom = found.box
    assert depth.shape == (64, 64)
    assert 0 <= left < right <= 64
    assert 0 <= top < bottom <= 64
    assert len(near) > 0
    assert (near >= (top, left)).all()
    assert (near < (bottom, right)).all()


def test_a_plain_background_is_seen_through() -> None:
    picture = Image.new("RGB", (60, 60), "white")
    picture.paste((200, 30, 30), (20, 15, 40, 50))
    mask = on_plain_background(picture)
    assert mask is not None
    assert abs(int(mask.sum()) - 700) <= 60
    assert on_plain_background(Image.new("RGB", (60, 60), "white")) is None


def test_environments_are_read_and_named(tmp_path: Path) -> None:
    file = tmp_path / "places.txt"
    file.write_text("# my places\non a table\n\na {product} in a river\non a table\n", "utf-8")
    settings = ProductSettings(model="other", subject="a mug")
    found = environments_of(file, settings)
    assert [each.name for each in found] == ["on-a-table", "a-in-a-river", "on-a-table-2"]
    assert [each.prompt_for("mug") for each in found[:2]] == ["mug on a table", "a mug in a river"]
    assert len(environments_of(None, settings)) == len(BUILT_IN)
    Image.new("L", (64, 48), 80).save(tmp_path / "d.png")
    whole = tmp_path / "places.yaml"
    whole.write_text("- on a shelf\n- {prompt: on a rock, depth: d.png, x: 0.3, share: 0.4}\n", "utf-8")
    second = read_environments(whole)[1]
    assert (Path(second.depth), second.x) == (tmp_path / "d.png", 0.3)
    near = np.asarray(placed(second, np.ones((9, 9), bool), 64).depth.convert("L"))
    assert near[0, -1] == 80
    assert near.max() >= NEAR


def test_a_line_may_have_fields_behind_its_prompt(tmp_path: Path) -> None:
    Image.new("L", (32, 32), 80).save(tmp_path / "big rock.png")
    text = "a [red|blue] sea\non a rock | depth='big rock.png' x=0.3\nby night | share=0.25"
    found = text_environments(text, "list", tmp_path)
    assert [each.prompt for each in found] == ["a [red|blue] sea", "on a rock", "by night"]
    assert (Path(found[1].depth), found[1].x, found[2].share) == (tmp_path / "big rock.png", 0.3, 0.25)
    lines = "\n".join(line_of(each) for each in found)
    assert text_environments(lines, "list", tmp_path) == found


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", "\n# nothing\n", "has no environments"),
        ("a.txt", "on a rock | depth=missing.png", r"line 1\.depth"),
        ("a.txt", "\non a rock | x=0.4 wide", "line 2: expected fields"),
        ("a.yaml", "prompt: x", "is no list of environments"),
        ("a.yaml", "- {prompt: x, depth: missing.png}", r"\[0\]\.depth"),
        ("a.yaml", "- {prompt: x, size: 3}", r"\[0\]"),
        ("a.yaml", "- {prompt: x, share: 3}", r"\[0\]\.share"),
    ],
)
def test_wrong_environments(name: str, text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(RequestError, match=problem):
        read_environments(tmp_path / name)
    with pytest.raises(HostError, match="cannot read"):
        read_environments(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("likeness", "prompt", "weight", "problem"),
    [
        ((0.1, 0.3, 0.6), (0.3, 0.3, 0.3), 0.5, "weight-too-low"),
        ((0.1, 0.6, 0.3), (0.3, 0.3, 0.3), 1.0, "weight-too-high"),
        ((0.1, 0.6, 0.6), (0.3, 0.3, 0.1), 1.0, "prompt-lost"),
        ((0.1, 0.2, 0.3), (0.3, 0.3, 0.3), 1.0, "no-weight-is-enough"),
        ((0.1, 0.5, 0.6), (None, None, None), 1.0, ""),
    ],
)
def test_the_weight_curve_is_read(
    likeness: tuple[float, ...], prompt: tuple[float | None, ...], weight: float, problem: str
) -> None:
    curve = WeightCurve(weights=(0.0, 0.5, 1.0), likeness=likeness, prompt=prompt, environments=("a",))
    threshold = Threshold(value=0.4, real=(0.7,), without=(0.1,), reason="")
    bad = {each.name for each in weight_findings(curve, weight, threshold) if each.bad}
    assert bad == ({problem} if problem else set())


def test_data_is_mended_first() -> None:
    found = [
        finding("weight", "weight-too-low", "1", "raise it", bad=True),
        finding("data", "few-views", "2", "take more", bad=True),
        finding("data", "blur", "0", "sharpen", bad=False),
    ]
    first = first_problem(found)
    assert isinstance(first, Finding)
    assert (first.name, found[2].advice) == ("few-views", "")
    assert first_problem(found[2:]) is None
