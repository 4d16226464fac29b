"""The pose editor and "Use the last result" in the real WebUI, driven by mouse, touch and keys."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.images.control_pictures import pose_hash
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import read_pose
from tests.live.conftest import EDGES, SIZE, WebUI
from tests.support.browser_page import choose, generate, open_panel, opened_page, ready, shot, unit
from tests.support.poses import document

pytestmark = pytest.mark.live
RIGHT_WRIST, LEFT_ELBOW, LEFT_WRIST = 4, 6, 7
FIELD = f"{unit('pose')} textarea"


@pytest.fixture
def page(webui: WebUI) -> Iterator[Any]:
    with opened_page(webui.url) as opened:
        open_panel(opened)
        choose(opened, "model", EDGES["model"])
        choose(opened, "preprocessor", "openpose_json")
        yield opened


def command(page: Any, name: str) -> Any:
    return page.locator(f"{unit('pose_area')} [data-command={name}]")


def joint(page: Any, number: int, person: int = 0) -> Any:
    return page.locator(f"{unit('pose_area')} [data-at='{person} body {number}']")


def middle(element: Any) -> tuple[float, float]:
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, element: Any, across: float, down: float) -> None:
    x, y = middle(element)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y + down, steps=5)
    page.mouse.up()


def body(page: Any, person: int = 0) -> list[tuple[float, float, float]]:
    """The keypoints of a person in the unit's field."""
    numbers = json.loads(page.input_value(FIELD))["people"][person]["pose_keypoints_2d"]
    return list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))


def use(page: Any) -> None:
    page.click(unit("pose_new"))
    command(page, "use").click()
    page.wait_for_function(f"document.querySelector('{FIELD}').value !== ''")


def picture(page: Any, selector: str) -> Image.Image:
    """The picture that the page shows in an element."""
    script = """async (selector) => {
        const blob = await (await fetch(document.querySelector(selector).src)).blob();
        return new Promise((resolve) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result);
            reader.readAsDataURL(blob);
        });
    }"""
    data = page.evaluate(script, selector).partition(",")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def test_joints_are_moved_hidden_and_brought_back(page: Any) -> None:
    use(page)
    stage = page.locator(f"{unit('pose_area')} .ctrlgen-pose-stage").bounding_box()
    before = body(page)
    drag(page, joint(page, RIGHT_WRIST), -0.1 * stage["width"], -0.2 * stage["height"])
    after = body(page)
    moved = np.subtract(after[RIGHT_WRIST], before[RIGHT_WRIST])
    np.testing.assert_allclose(moved, (-0.1, -0.2, 0), atol=0.01)
    assert [p for i, p in enumerate(after) if i != RIGHT_WRIST] == [
        p for i, p in enumerate(before) if i != RIGHT_WRIST
    ]
    page.keyboard.press("ArrowRight")
    assert body(page)[RIGHT_WRIST][0] == pytest.approx(after[RIGHT_WRIST][0] + 0.01, abs=1e-4)
    page.keyboard.press("Control+z")
    assert body(page) == after
    joint(page, LEFT_ELBOW).focus()
    page.keyboard.press("Shift+ArrowUp")
    lifted = np.subtract(body(page), after)
    assert {i for i, by in enumerate(lifted) if by.any()} == {LEFT_ELBOW, LEFT_WRIST}
    page.keyboard.press("Shift+Delete")
    assert [body(page)[i][2] for i in (5, LEFT_ELBOW, LEFT_WRIST)] == [1, 0, 0]
    shot(page, "pose-limb-hidden")
    command(page, "all").click()
    assert all(confidence == 1 for *_, confidence in body(page))
    command(page, "undo").click()
    command(page, "redo").click()
    command(page, "add").click()
    assert len(json.loads(page.input_value(FIELD))["people"]) == 2
    shot(page, "pose-two-persons")
    command(page, "remove").click()
    assert len(json.loads(page.input_value(FIELD))["people"]) == 1


def test_a_finger_moves_a_joint(webui: WebUI) -> None:
    with opened_page(webui.url, has_touch=True, viewport={"width": 600, "height": 1400}) as page:
        open_panel(page)
        choose(page, "preprocessor", "openpose_json")
        use(page)
        before, (x, y) = body(page), middle(joint(page, RIGHT_WRIST))
        touch = page.context.new_cdp_session(page)
        places = [(x + 9, y + 9), (x - 20, y - 40), (x - 41, y - 81)]  # beside it, as a finger is
        for kind, at in zip(
            ("touchStart", "touchMove", "touchMove", "touchEnd"), [*places, None], strict=True
        ):
            points = [{"x": at[0], "y": at[1]}] if at else []
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(500)
        stage = page.locator(f"{unit('pose_area')} .ctrlgen-pose-stage").bounding_box()
        moved = np.subtract(body(page)[RIGHT_WRIST], before[RIGHT_WRIST])
        np.testing.assert_allclose(moved, (-50 / stage["width"], -90 / stage["height"], 0), atol=0.02)
        shot(page, "pose-touch")


def test_the_drawing_is_in_the_request_and_survives(page: Any) -> None:
    """In the control map, in the infotext, after that is pasted, and after a reload."""
    use(page)
    drag(page, joint(page, RIGHT_WRIST), -60, -150)
    text = page.input_value(FIELD)
    pose = read_pose(text)
    page.wait_for_selector(f"[data-pose-hash='sha:{pose_hash(pose)}']", state="attached")
    page.click(unit("show_map"))
    page.wait_for_selector(f"{unit('map')} img")
    drawn = np.asarray(draw(pose, (SIZE, SIZE)), int)
    assert np.abs(np.asarray(picture(page, f"{unit('map')} img"), int) - drawn).max() <= 1

    page.locator(f"{unit('enabled')} input").check()
    generate(page)
    info = page.locator("#html_info_txt2img").first.inner_text()
    assert f"sha:{pose_hash(pose)}" in info
    command(page, "discard").click()
    page.locator("#txt2img_prompt textarea").fill(info)
    page.wait_for_timeout(500)
    page.click("#paste")
    page.wait_for_function(f"document.querySelector('{FIELD}').value.startsWith('{{')")
    assert page.input_value(FIELD) == text
    page.wait_for_selector(f"{unit('pose_area')} .ctrlgen-pose-stage")

    page.reload(wait_until="domcontentloaded")
    ready(page)
    open_panel(page)
    choose(page, "preprocessor", "openpose_json")
    page.wait_for_selector(f"{unit('pose_area')} .ctrlgen-pose-stage")
    assert page.input_value(FIELD) == text
    command(page, "discard").click()
    assert page.input_value(FIELD) == ""


@pytest.mark.parametrize("pixels", [True, False])
def test_a_file_is_opened_and_a_picture_with_keypoints_left_out(
    page: Any, tmp_path: Path, pixels: bool
) -> None:
    given = document()
    numbers = given["people"][0]["pose_keypoints_2d"]
    numbers[3 * RIGHT_WRIST + 2] = 0.1  # below the threshold
    if not pixels:
        numbers[::3] = [x / 200 for x in numbers[::3]]
        numbers[1::3] = [y / 400 for y in numbers[1::3]]
    (tmp_path / "pose.json").write_text(json.dumps(given), "utf-8")
    page.locator(f"{unit('pose_open')} + input, {unit('pose_area')} input[type=file]").first.set_input_files(
        str(tmp_path / "pose.json")
    )
    command(page, "use").wait_for(state="visible")
    command(page, "use").click()
    page.wait_for_function(f"document.querySelector('{FIELD}').value !== ''")
    found = body(page)
    assert found[RIGHT_WRIST] == (0, 0, 0)
    np.testing.assert_allclose(found[0], (0.5, 0.15, 1), atol=1e-4)


def test_the_last_result_becomes_the_units_picture(page: Any) -> None:
    page.locator(f"{unit('picture_menu')} > .label-wrap").click()
    page.click(unit("last"))
    page.wait_for_selector(f"{unit('map_error')} .ctrlgen-error")
    generate(page)
    made = picture(page, "#txt2img_gallery .thumbnails img")
    page.click(unit("last"))
    page.wait_for_selector(f"{unit('image')} img")
    choose(page, "preprocessor", "invert")
    page.locator(f"{unit('enabled')} input").check()
    generate(page)
    info = page.locator("#html_info_txt2img").first.inner_text()
    assert f"sha:{image_hash(made.convert('RGBA'))}" in info.replace("\n", "")
    shot(page, "last-result")


def test_over_rest_a_unit_takes_the_last_picture(webui: WebUI) -> None:
    first = webui.generate()
    unit_of = EDGES | {"image": "", "image_from": "last", "preprocessor": "none"}
    made = webui.generate(unit_of, seed=2)
    assert made.status == 200, made.json
    assert f"sha:{image_hash(Image.fromarray(first.images[0]))}" in webui.infotext(made)
    refused = webui.generate(EDGES | {"image_from": "last"})
    assert (refused.status, refused.detail["path"]) == (422, "$.units[0].image_from")
