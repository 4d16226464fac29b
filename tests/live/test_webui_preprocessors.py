"""Every preprocessor in the real WebUI: those without weights run, the others say what is missing."""

import json
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.models.published import named
from lib_ctrlgen.preprocessors import preprocessor, preprocessors
from lib_ctrlgen.preprocessors.network import NetworkPreprocessor
from tests.live.conftest import EDGES, PICTURE, SIZE, Answer, WebUI, encoded, scene
from tests.support.poses import document
from tests.support.preprocessors import NEED_NO_WEIGHTS

pytestmark = pytest.mark.live

LAMA = "inpaint_only+lama"
WEIGHT_FREE = [item for item in NEED_NO_WEIGHTS if item.name != LAMA]
# One preprocessor for each file or folder of weights.
NETWORKS = {item.network.weights: item for item in preprocessors() if isinstance(item, NetworkPreprocessor)}


def holed() -> Image.Image:
    """The scene with a transparent corner, which preprocessors for inpainting need."""
    picture = scene().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, SIZE // 2, SIZE // 2))
    return picture


def detected(webui: WebUI, name: Any, image: str) -> Any:
    response = webui.post("/ctrlgen/v1/detect", {"preprocessor": name, "image": image})
    assert response.status_code == 200, response.text
    return response.json()


def pixels(answer: Any) -> Any:
    return np.asarray(decode_image(answer["images"][0], ""))


@pytest.mark.parametrize("item", WEIGHT_FREE, ids=lambda item: item.name)
def test_preprocessors_without_weights(webui: WebUI, plain: Answer, item: Any) -> None:
    picture = encoded(holed() if item.marks_holes else scene())
    shown = pixels(detected(webui, item.name, picture))
    wanted = item(decode_image(picture, "").convert("RGB"))
    if not item.marks_holes:
        assert np.array_equal(shown, np.asarray(wanted))
    answer = webui.generate({**EDGES, "preprocessor": item.name, "image": picture})
    assert answer.status == 200, answer.json
    assert not answer.same(plain)
    assert answer.images[-1].shape == shown.shape, "the control map is appended"
    if not item.marks_holes:
        assert np.array_equal(answer.images[-1], shown)
    assert webui.generate().same(plain)


def test_a_chain(webui: WebUI) -> None:
    chain = [{"name": "canny", "params": {"low_threshold": 50}}, "invert"]
    shown = pixels(detected(webui, chain, encoded(scene())))
    wanted = preprocessor("invert")(preprocessor("canny")(scene(), low_threshold=50))
    assert np.array_equal(shown, np.asarray(wanted))
    answer = webui.generate({**EDGES, "preprocessor": chain})
    assert np.array_equal(answer.images[-1], shown)


def test_a_pose(webui: WebUI) -> None:
    pose = pose_of(document())
    found = detected(webui, "openpose_json", json.dumps(document()))
    assert np.array_equal(pixels(found), np.asarray(draw(pose, pose.size)))
    assert pose_of(found["poses"][0]) == pose
    unit = {**EDGES, "preprocessor": "openpose_json", "image": json.dumps(document())}
    answer = webui.generate(unit)
    assert answer.status == 200
    assert answer.images[-1].max() > 0


@pytest.mark.parametrize("weights", NETWORKS)
def test_missing_weights_are_named_with_folder_and_command(webui: WebUI, weights: str) -> None:
    item = NETWORKS[weights]
    body = {"preprocessor": item.name, "image": encoded(scene())}
    response = webui.post("/ctrlgen/v1/detect", body)
    answer = webui.generate({**EDGES, "preprocessor": item.name})
    assert (response.status_code, answer.status) == (422, 422)
    for detail, path in (
        (response.json()["detail"], "$.preprocessor"),
        (answer.detail, "$.units[0].preprocessor"),
    ):
        assert detail["path"] == path
        weights = weights.rpartition("/")[2]  # a folder on the Hub is published under its own name
        assert weights in detail["message"]
        assert "ControlNetPreprocessor" in detail["message"]
        if named(weights) is not None:
            assert f"models get {weights} --folder" in detail["message"]


def test_faces_and_lama_are_missing_by_name(webui: WebUI) -> None:
    face = webui.generate({**EDGES, "preprocessor": "instant_id_face_keypoints"})
    assert (face.status, face.detail["path"]) == (422, "$.units[0].preprocessor")
    lama = webui.generate({**EDGES, "preprocessor": LAMA, "image": encoded(holed())})
    assert lama.status == 422
    assert "ControlNetLama.pth" in lama.detail["message"]


def test_names_of_encoders(webui: WebUI) -> None:
    plain, named_one = webui.generate(PICTURE), webui.generate({**PICTURE, "preprocessor": "ip-adapter-auto"})
    assert named_one.status == 200
    assert named_one.same(plain)
    wrong = webui.generate({**EDGES, "preprocessor": "ip-adapter_clip_h"})
    assert (wrong.status, wrong.detail["path"]) == (422, "$.units[0].preprocessor")
    by_control = webui.generate({"control": "reference", "image": EDGES["image"]})
    by_name = webui.generate({"preprocessor": "reference_only", "image": EDGES["image"]})
    assert by_name.same(by_control)


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_a_button_stops_further_maps(webui: WebUI, button: str) -> None:
    """The maps of eight units take some seconds."""
    slow = [{"name": name, "params": {"resolution": 2048}} for name in ("scribble_xdog", "lineart_standard")]
    noise = np.random.default_rng().integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)  # in no cache yet
    units = [{**EDGES, "preprocessor": slow, "image": encoded(Image.fromarray(each))} for each in noise]
    made = Event()

    def press() -> None:
        while not made.wait(0.5):
            requests.post(f"{webui.url}/sdapi/v1/{button}", timeout=60)

    thread = Thread(target=press)
    thread.start()
    answer = webui.generate(*units)
    made.set()
    thread.join()
    assert answer.status == 200
    assert len(answer.images) <= 1, "without control maps"
    assert len(webui.generate(EDGES).images) == 2, "the next one is whole"
