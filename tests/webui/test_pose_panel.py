"""The pose editor's part in Python: what it begins with, and how its pose gets into the request."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.forms.map_preview import control_map, pose_in_picture
from lib_ctrlgen.forms.pose_fields import concerns_poses, reads_pose, with_reader
from lib_ctrlgen.forms.unit_fields import UNITS_FROM, read_request, unit_fields
from lib_ctrlgen.images.control_pictures import pose_hash
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import read_pose
from lib_ctrlgen.images.poses.pose import Keypoint, Person, Pose
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import PoseDetector
from lib_ctrlgen.request import catalogue
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.poses import document

POSE = json.dumps(document())
PICTURE = Image.new("RGB", (200, 400), "red")
STORE = ModelStore((), 0)


class CornerDetector(PoseDetector):
    """Finds a person whose nose is where the picture is brightest; it notes the sizes that it sees."""

    name: ClassVar[str] = "corner_pose"
    title: ClassVar[str] = "Corner"
    seen: ClassVar[list[tuple[int, int]]] = []

    def pose(self, image: Image.Image, **params: Any) -> Pose:
        self.seen.append(image.size)
        width, height = image.size
        return Pose(people=(Person(body=(Keypoint(0.25, 0.75), *[None] * 17)),), width=width, height=height)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalogue.Entry("corner_pose", f"{__name__}:CornerDetector")
    monkeypatch.setattr(catalogue, "PREPROCESSORS", (*catalogue.PREPROCESSORS, entry))
    CornerDetector.seen.clear()


def values(**fields: Any) -> dict[str, Any]:
    given = {"enabled": True, "model": "pose", "preprocessor": "openpose_json", "pose": POSE}
    return unit_fields() | given | fields


def request(**fields: Any) -> Any:
    return read_request(["", *whole(), *values(**fields).values()]).units[0]


def whole() -> list[Any]:
    return [*[""] * 3, "off", *[None] * (UNITS_FROM - 4)]


def test_the_edited_pose_is_the_picture_of_a_unit_that_draws_one() -> None:
    assert request().image == POSE
    assert request(image=PICTURE).image == POSE, "the picture is only behind the drawing"
    assert request(preprocessor="openpose_json | invert").image == POSE
    assert request(preprocessor='["openpose_json", "invert"]').image == POSE
    assert request(preprocessor="canny", image=PICTURE).image.startswith("data:image/png")
    assert request(pose="").image == ""


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"pose": "sha:0123456789ab"}, "$.units[0].image", "does not have the pose"),
        ({"images": [POSE]}, "$.units[0].images", "edited pose, too"),
        ({"use_init_image": True}, "$.units[0].image_from", "no img2img picture"),
    ],
)
def test_a_pose_that_cannot_be_used_is_refused(fields: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        request(**fields)
    assert caught.value.path == place


def test_the_preview_and_the_editor_show_the_edited_pose() -> None:
    shown = control_map(values(resize_mode="just_resize"), 100, 200, 0, STORE)
    assert shown.tobytes() == draw(read_pose(POSE), (100, 200)).tobytes()
    assert pose_in_picture(values(), 64, 64, 0, STORE) == read_pose(POSE)


def test_the_editor_begins_with_the_pose_that_is_found(detector: None) -> None:
    found = pose_in_picture(values(preprocessor="corner_pose", image=PICTURE), 64, 96, 0, STORE)
    assert found.size == PICTURE.size, "it lies on the picture, whatever the generation's size"
    assert CornerDetector.seen == [(64, 128)], "which decides at what size it is searched"
    assert found.people[0].body is not None
    assert found.people[0].body[0] == Keypoint(0.25, 0.75)
    for fields, words in (
        ({"preprocessor": "canny"}, "finds no poses"),
        ({"image": None}, "choose a picture"),
    ):
        with pytest.raises(RequestError, match=words):
            pose_in_picture(
                values(**{"preprocessor": "corner_pose", "image": PICTURE} | fields), 64, 64, 0, STORE
            )


def test_the_drawing_takes_the_place_of_the_detector(detector: None) -> None:
    assert with_reader("canny | corner_pose | invert") == "openpose_json | invert"
    listed = '["blur_gaussian", "corner_pose", {"name": "threshold", "params": {"threshold": 9}}]'
    kept = ["openpose_json", {"name": "threshold", "params": {"threshold": 9}}]
    assert json.loads(with_reader(listed)) == kept
    assert with_reader("openpose_json | invert") == "openpose_json | invert"
    assert with_reader("none") == "openpose_json"
    shown = {
        name: (concerns_poses(name), reads_pose(name)) for name in ("corner_pose", "openpose_json", "canny")
    }
    assert shown == {"corner_pose": (True, False), "openpose_json": (True, True), "canny": (False, False)}


@pytest.fixture
def panel(host: FakeWebUI) -> Any:
    return fresh("panel.panel").build_panel("txt2img")


def part(name: str) -> Component:
    return next(c for c in Component.made if c.elem_id == f"ctrlgen_txt2img_unit0_{name}")


def test_buttons_find_read_and_use_a_pose(panel: Any, detector: None, tmp_path: Path) -> None:
    edit = part("pose_edit").events[0][0]
    fields = values(preprocessor="corner_pose", image=PICTURE, pose="")
    text, error = edit(64, 64, *fields.values())
    assert (read_pose(text).size, error) == ((200, 400), "")
    assert "choose a picture" in edit(64, 64, *(fields | {"image": None}).values())[1]
    read = part("pose_open").events[0][0]
    for content, wrong in ((POSE, ""), ('{"people": [{"pose_keypoints_2d": [1]}]}', "canvas_width")):
        (tmp_path / "a.json").write_text(content, "utf-8")
        text, error = read(SimpleNamespace(name=str(tmp_path / "a.json")))
        assert (bool(text), wrong in error) == (not wrong, True)
    use = part("pose_use").events[0][0]
    assert use(POSE, "corner_pose | invert") == (POSE, "openpose_json | invert", "")
    assert "not JSON" in use("{", "corner_pose")[2]


def test_the_note_has_the_hash_by_which_an_infotext_brings_the_pose_back(panel: Any) -> None:
    noted = part("pose").events[0][0]
    update, note = noted(POSE, "openpose_json")
    hashed = f"sha:{pose_hash(read_pose(POSE))}"
    assert update["visible"] is True
    assert f'data-pose-hash="{hashed}"' in note
    assert "1 person" in note
    assert "not used" in noted(POSE, "canny")[1]
    assert "does not have the pose" in noted(hashed, "openpose_json")[1]
    recorded = {"CtrlGen": describe(read_request(["", *whole(), *values().values()]))}
    pasted = {c.elem_id: f(recorded) for c, f in panel.paste_fields if c is part("pose")}
    assert pasted == {"ctrlgen_txt2img_unit0_pose": {"__type__": "generic_update", "value": hashed}}
    other = json.loads(recorded["CtrlGen"])
    other["units"][0]["preprocessor"] = "canny"
    assert [f({"CtrlGen": json.dumps(other)}) for c, f in panel.paste_fields if c is part("pose")] == [None]
