"""The pose editor in a browser, on a page with the scripts, the style and one unit's field."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.images.poses.openpose_json import read_pose
from tests.support.poses import BODY, document, flat
from tests.support.script_page import page_of

BODY_HTML = """
<div id="txt2img_width"><input type="number" value="400"></div>
<div id="txt2img_height"><input type="number" value="200"></div>
<div class="ctrlgen"><div id="unit_pose"><textarea></textarea></div>
<button id="unit_pose_use"></button>
<div class="ctrlgen-pose" data-tab="txt2img" data-unit="unit"></div></div>
"""
RIGHT_WRIST, NOSE = 4, 0
HAND = [(55 + 2 * k, 215 + k, 1.0) for k in range(21)]
FACE = [(100 + 15 * math.cos(k), 60 + 15 * math.sin(k), 1.0) for k in range(70)]
ANIMAL = [(10 + 5 * k, 300 + (k % 4), 1.0) for k in range(17)]


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with page_of(chromium, BODY_HTML, ["ctrlgen", "editors/pose"], height=900) as opened:
        opened.evaluate("ctrlgenPose.update()")
        yield opened


def full() -> dict[str, Any]:
    """A person with a hand and a face, and an animal, in pixels."""
    given = document()
    given["people"][0] |= {
        "hand_right_keypoints_2d": flat(HAND),
        "hand_left_keypoints_2d": None,
        "face_keypoints_2d": flat(FACE),
    }
    return given | {"animals": [flat(ANIMAL)]}


def opened(page: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Open a document, and return what the editor makes of it."""
    page.evaluate("(text) => ctrlgenPose.open('unit', text)", json.dumps(given))
    return written(page)


def written(page: Any) -> dict[str, Any]:
    return dict(json.loads(page.evaluate("ctrlgenPose.text('unit')")))


def points(found: dict[str, Any], part: str = "pose_keypoints_2d") -> Any:
    return np.array(found["people"][0][part]).reshape(-1, 3)


def focus(page: Any, part: str, joint: int = 0) -> None:
    page.locator(f"[data-at='0 {part} {joint}']").focus()


def test_pixels_and_fractions_are_the_same_drawing_and_come_back_whole(page: Any) -> None:
    given = full()
    expected = read_pose(json.dumps(given))
    fractions = json.loads(json.dumps(given))
    for part in fractions["people"][0].values():
        if part:
            part[::3], part[1::3] = [x / 200 for x in part[::3]], [y / 400 for y in part[1::3]]
    for document_ in (given, fractions):
        found = read_pose(json.dumps(opened(page, document_)))
        assert found.size == expected.size
        one, other = ([(p.x, p.y, p.confidence) for p in each.keypoints] for each in (found, expected))
        np.testing.assert_allclose(one, other, atol=2e-5)
        assert found.people[0].left_hand is None


def test_low_confidences_and_hidden_parts_are_left_out(page: Any) -> None:
    given = full()
    given["people"][0]["pose_keypoints_2d"][2] = 0.2  # of the nose
    found = points(opened(page, given))
    assert found[NOSE].tolist() == [0, 0, 0]
    assert found[1:, 2].all()
    focus(page, "right_hand")
    page.keyboard.press("Delete")
    assert written(page)["people"][0]["hand_right_keypoints_2d"] is None
    page.keyboard.press("Control+z")
    np.testing.assert_allclose(points(written(page), "hand_right_keypoints_2d")[0], (55 / 200, 215 / 400, 1))
    focus(page, "body", NOSE)
    page.keyboard.press("Delete")
    np.testing.assert_allclose(points(written(page))[NOSE], (0.5, 0.15, 1))


def test_a_hand_moves_with_its_wrist_and_alone(page: Any) -> None:
    before = opened(page, full())
    focus(page, "body", RIGHT_WRIST)
    page.keyboard.press("ArrowDown")
    after = written(page)
    for part in ("pose_keypoints_2d", "hand_right_keypoints_2d"):
        moved = (points(after, part) - points(before, part))[:, 1]
        still = [i for i in range(len(moved)) if part.startswith("pose") and i != RIGHT_WRIST]
        np.testing.assert_allclose(np.delete(moved, still), 0.01, atol=2e-5)
        assert not moved[still].any()
    focus(page, "right_hand")
    page.keyboard.press("ArrowDown")
    alone = written(page)
    assert points(alone).tolist() == points(after).tolist()
    np.testing.assert_allclose(points(alone, "hand_right_keypoints_2d")[0, 1], 215 / 400 + 0.02, atol=2e-5)
    assert points(alone, "face_keypoints_2d").tolist() == points(before, "face_keypoints_2d").tolist()


def test_a_whole_person_stays_on_the_canvas(page: Any) -> None:
    opened(page, document())
    focus(page, "body", 1)
    for _ in range(60):
        page.keyboard.press("Shift+ArrowLeft")
    found = points(written(page))
    assert found[:, 0].min() == 0
    np.testing.assert_allclose(found[:, 0] * 200, [x - 50 for x, *_ in BODY], atol=0.01)


def test_a_used_drawing_follows_and_a_pasted_hash_becomes_its_pose(page: Any) -> None:
    field = "document.querySelector('#unit_pose textarea')"
    text = json.dumps(opened(page, document()))
    page.evaluate(f"{field}.value = {json.dumps(text)}; ctrlgenPose.update()")
    focus(page, "body", RIGHT_WRIST)
    page.keyboard.press("ArrowUp")
    used = page.evaluate(f"{field}.value")
    assert json.loads(used) == written(page) != json.loads(text)
    note = "<p data-pose-hash='sha:0123'></p>"
    script = "([note, pose]) => {document.body.insertAdjacentHTML('beforeend', note);"
    script += "document.body.lastElementChild.dataset.pose = pose; ctrlgenPose.update();}"
    if page.evaluate("(() => {try {sessionStorage.length; return true;} catch (e) {return false;}})()"):
        page.evaluate(script, [note, used])
        page.evaluate(f"ctrlgenPose.discard(ctrlgenPose.area('unit')); {field}.value = 'sha:0123'")
        page.evaluate("ctrlgenPose.update()")
        assert page.evaluate(f"{field}.value") == used
        assert written(page) == json.loads(used)
    page.evaluate(f"{field}.value = 'sha:unknown'; ctrlgenPose.update()")
    assert page.evaluate(f"{field}.value") == "sha:unknown", "the server says that it is not known"
