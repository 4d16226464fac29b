"""Bad pictures are told at the start, all at once, with their files' names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.training import training_payload, training_spec
from lib_ctrlgen.train.dataset.backgrounds import replaced
from lib_ctrlgen.train.dataset.checks import held_out, read_pictures
from tests.support import training


def problems(root: Path, **fields: Any) -> str:
    with pytest.raises(RequestError) as caught:
        read_pictures(training.spec(root, **fields))
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return training.write_pictures(tmp_path / "pictures")


def test_every_bad_file_is_named_in_one_message(tmp_path: Path, folder: Path) -> None:
    training.picture(9, 1, 1).save(folder / "dot.png")
    (folder / "broken.png").write_bytes((folder / "view0.png").read_bytes()[:60])
    training.picture(1).save(folder / "twin.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(folder / "ghost.png")
    (folder / "text.jpg").write_text("no picture")
    said = problems(tmp_path, captions="a shape")
    assert "$.pictures: 5 problems with the pictures in" in said
    assert "dot.png: has only 1x1 pixels, too few for a resolution of 64" in said
    assert "broken.png: no readable picture" in said
    assert "text.jpg: no readable picture" in said
    assert "view1.png: is the same picture as twin.png; remove one of them" in said
    assert "ghost.png: is transparent everywhere" in said


def test_cmyk_and_small_pictures_are_warned_of(tmp_path: Path, folder: Path) -> None:
    training.picture(7).convert("CMYK").save(folder / "print.jpg")
    training.picture(8, 32, 40).save(folder / "small.png")
    found = read_pictures(training.spec(tmp_path, captions="a {name}"))
    assert [text.partition(":")[0] for text in found.warnings] == ["print.jpg", "small.png"], found.warnings
    assert "is CMYK" in found.warnings[0]
    assert {view.caption for view in found.training} >= {"a print", "a small"}


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_are_refused(tmp_path: Path, count: int) -> None:
    training.write_pictures(tmp_path / "pictures", count)
    said = problems(tmp_path)
    assert ("there are no pictures" if not count else "1 picture with hold_out 1 leave none") in said
    if count:
        found = read_pictures(training.spec(tmp_path, hold_out=0))
        assert found.warnings == ("view0.png: is the only picture to learn from; it will be copied",)


def test_missing_captions_are_named(tmp_path: Path, folder: Path) -> None:
    (folder / "view2.txt").unlink()
    assert "view2.png: has no caption; others have one" in problems(tmp_path)
    for path in folder.glob("*.txt"):
        path.unlink()
    assert "no picture has a caption" in " ".join(read_pictures(training.spec(tmp_path)).warnings)


def test_a_subjects_captions_need_its_token(tmp_path: Path, folder: Path) -> None:
    fields = {"kind": "dreambooth", "token": "sks", "prior_prompt": "a shape"}
    assert "view0.png: its caption lacks the token 'sks'" in problems(tmp_path, **fields)
    for path in folder.glob("*.txt"):
        path.unlink()
    found = read_pictures(training.spec(tmp_path, **fields))
    assert {view.caption for view in found.training} == {"a photo of sks"}
    assert "'a photo of sks' does not name the subject's class: give captions" in " ".join(found.warnings)
    usual = training.spec(tmp_path, **fields | {"prior_prompt": "a photo of an old dog"})
    assert training_spec(training_payload(usual)) == usual
    named = read_pictures(usual)
    assert {view.caption for view in named.training} == {"a photo of sks old dog"}
    assert "class" not in " ".join(named.warnings)
    own = training.spec(tmp_path, **fields, captions="{token}, a shape")
    assert "class" not in " ".join(read_pictures(own).warnings)
    for number in range(4):
        (folder / f"view{number}.txt").write_text("my sks; (sks:1.1) sksers")
    read_pictures(training.spec(tmp_path, **fields))
    others = training.write_pictures(tmp_path / "others", 2, caption="a dog, not sks!")
    with pytest.raises(RequestError, match=r"view0\.png: its caption has the token 'sks'"):
        read_pictures(training.spec(tmp_path, **fields, prior_pictures=str(others)))
    bare = {"kind": "dreambooth", "token": "sks", "prior_pictures": str(others)}
    training.write_pictures(others, 2, caption="a dog")
    assert {view.caption for view in read_pictures(training.spec(tmp_path, **bare)).prior} == {"a dog"}
    (others / "view1.txt").unlink()
    with pytest.raises(RequestError, match=r"view1\.png: has no caption .* or give prior_prompt"):
        read_pictures(training.spec(tmp_path, **bare))


def test_masks_must_fit(tmp_path: Path, folder: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    white = Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 16))
    white.save(masks / "view0.png")
    white.resize((32, 32)).save(masks / "view1.png")
    Image.new("L", (64, 64)).save(masks / "view2.png")
    white.save(masks / "stranger.png")
    said = problems(tmp_path, masks=str(masks), background="random")
    assert "view1.png: the mask has 32x32 pixels, its picture view1.png has 64x64" in said
    assert "view2.png: the mask is black everywhere" in said
    assert "view3.png: background 'random' needs a mask, an alpha channel or a backdrop" in said
    assert "stranger.png: a mask without a picture" in said


def test_a_folder_that_is_missing_and_two_pictures_of_one_name(tmp_path: Path, folder: Path) -> None:
    assert "does not exist" in problems(tmp_path, pictures=str(tmp_path / "none"))
    training.picture(5).save(folder / "view1.jpg")
    assert "view1.jpg and view1.png share a caption" in problems(tmp_path)


def test_held_out_views_are_spread(tmp_path: Path) -> None:
    training.write_pictures(tmp_path / "pictures", 9)
    found = read_pictures(training.spec(tmp_path, hold_out=3))
    assert [view.path.stem for view in found.held_out] == ["view1", "view4", "view7"]
    assert len(found.training) == 6
    assert held_out(found.training, 0) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "hypernet"}, "$.kind: 'hypernet' cannot be trained"),
        ({"out": "x.png"}, "$.out: must end with .safetensors"),
        ({"background": "green"}, "$.background: is keep, random or #rrggbb"),
        ({"backdrop": "white"}, "$.backdrop: is auto or #rrggbb"),
        ({"backdrop": "auto"}, "$.backdrop: does nothing alone"),
        ({"kind": "dreambooth"}, "$.token: is needed"),
        ({"kind": "textual-inversion", "rank": 2}, "$.rank: does nothing for textual-inversion"),
        ({"prior": 1.0}, "$.prior_prompt: names the class"),
        ({"vectors": 2}, "$.vectors: does nothing for lora"),
        ({"steps": 0}, "$.steps: expected `int` >= 1"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        training.spec(tmp_path, **fields)
    assert said in str(caught.value)


def test_what_is_not_read_is_told_by_name(tmp_path: Path, folder: Path) -> None:
    for name in ("IMG_1.heic", "IMG_2.HEIC"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    training.picture(5).save(folder / "scan.ppm")
    training.write_pictures(folder / "more" / "east", 2)
    training.write_pictures(folder / "masks-of-it", 4, caption="")
    training.write_pictures(folder / "style.training" / "previews", 1)
    (folder / "style.safetensors").write_bytes(b"weights")
    (folder / ".hidden").write_text("x")
    (folder / "empty").mkdir()
    given = {"masks": str(folder / "masks-of-it"), "out": str(folder / "style.safetensors")}
    assert read_pictures(training.spec(tmp_path, **given)).warnings == (
        "IMG_1.heic, IMG_2.HEIC: left out: no readable picture: it is HEIF or a video: "
        "convert it to PNG, JPEG or WebP",
        "more: left out: folders in the folder are not read (2 pictures in it)",
        "scan.ppm: left out: no readable picture: it is none of the kinds PNG, JPEG, WEBP, BMP, GIF, TIFF",
        "only 3 pictures to learn from: 10 to 20 views are advised",
    )
    training.picture(5).save(folder / "photo.jfif", format="JPEG")
    assert "photo.jfif: left out: rename or convert it: pictures are .png" in " ".join(
        read_pictures(training.spec(tmp_path, **given)).warnings
    )
    for path in folder.glob("view*"):
        path.unlink()
    assert "IMG_1.heic, IMG_2.HEIC: left out: no readable picture: it is HEIF" in problems(tmp_path, **given)
    said = problems(tmp_path, pictures=str(folder / "more" / "east"), prior=1.0, prior_pictures="/nowhere")
    assert said == "$.prior_pictures: /nowhere does not exist"


def test_an_adapter_without_masks_is_warned_and_a_given_background_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    fields = {"kind": "ip-adapter", "adapter": "a", "prior": 0.0}
    found = read_pictures(training.spec(tmp_path, **fields))
    assert "backgrounds are kept, and are learned, too; with backdrop" in " ".join(found.warnings)
    said = problems(tmp_path, **fields, background="#ffffff")
    assert "view0.png: background '#ffffff' needs a mask, an alpha channel or a backdrop" in said


def test_subjects_are_cut_out_of_a_backdrop(tmp_path: Path) -> None:
    """Also where only some pictures have one: masks and alpha are taken before it, and others are named."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        shot = Image.new("RGB", (80, 64), "#ffffff")
        shot.paste((200, 20 + 40 * number, 30), (20, 16, 60, 48))
        shot.save(folder / f"view{number}.png")
    clear = Image.new("RGBA", (80, 64), (0, 0, 0, 0))
    clear.paste((9, 200, 9, 255), (8, 8, 40, 40))
    clear.save(folder / "clear.png")
    fields = {"captions": "a box", "background": "#0000ff", "backdrop": "#ffffff"}
    found = read_pictures(training.spec(tmp_path, **fields))
    every = sorted((*found.training, *found.held_out), key=lambda view: view.path.name)
    assert [view.backdrop for view in every] == ["", *["#ffffff"] * 4]
    for view in every:
        changed = np.asarray(replaced(*view.read(), "#0000ff", ()))
        assert tuple(changed[2, 2]) == (0, 0, 255)
        assert changed[30, 30, 2] < 100
    digests = {
        read_pictures(training.spec(tmp_path, **{**fields, **more})).digest for more in OTHER_BACKDROPS
    }
    assert len(digests) == 2  # the same silhouettes, and the pictures without masks
    training.picture(5, 80, 64).save(folder / "garden.png")
    said = problems(tmp_path, **fields)
    assert "garden.png: its border does not have the backdrop #ffffff" in said
    assert "1 problem with" in said
    assert "garden.png: its border has several colours" in problems(tmp_path, **fields | {"backdrop": "auto"})


OTHER_BACKDROPS: tuple[dict[str, str], ...] = (
    {},
    {"backdrop": "auto"},
    {"backdrop": "", "background": "keep"},
)
