"""Recipes in the real WebUI: over REST, and in the page. Needs playwright and a Chromium for the page.

The recipes of these tests begin with `live test` and are removed at the end if CTRLGEN_WEBUI_ROOT is set.
"""

import base64
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.live.conftest import EDGES, PLAIN, WebUI
from tests.support.browser_page import (
    fill,
    fill_unit,
    generate,
    open_panel,
    opened_page,
    press,
    reveal,
    shot,
    unit,
)

pytestmark = pytest.mark.live

NAME = "live test Küche"
JOB = {"prompt": "a red circle", "seed": 1, "steps": 4, "width": 64, "height": 64, "units": [EDGES]}
RECIPE = "#ctrlgen_txt2img_recipe_"


@pytest.fixture(scope="module")
def routes(webui: WebUI) -> Iterator[str]:
    yield f"{webui.url}/ctrlgen/v1/recipes"
    if root := os.environ.get("CTRLGEN_WEBUI_ROOT"):
        for folder in (Path(root) / "ctrlgen-recipes").glob("live test*"):
            shutil.rmtree(folder)


def answered(answer: requests.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_recipe_goes_through_the_routes(routes: str) -> None:
    one = f"{routes}/{NAME}"
    first = answered(requests.put(one, json={"job": JOB}, timeout=60))
    second = answered(requests.put(one, json={"job": {**JOB, "seed": 2}, "message": "seed 2"}, timeout=60))
    assert NAME in [row["name"] for row in answered(requests.get(routes, timeout=60))]
    history = answered(requests.get(f"{one}/history", timeout=60))
    assert [row["id"] for row in history][:2] == [second["id"], first["id"]]
    assert "-seed: 1\n+seed: 2" in answered(requests.get(f"{one}/diff", timeout=60))["text"]
    read = answered(requests.get(one, params={"version": first["id"]}, timeout=60))
    assert (read["job"]["seed"], read["job"]["units"][0]["model"]) == (1, EDGES["model"])
    packed = requests.get(f"{one}/zip", timeout=60)
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert yaml.safe_load(archive.read("recipe.yaml"))["seed"] == 2
    added = answered(requests.post(routes, params={"name": NAME}, data=packed.content, timeout=60))
    assert added["name"].startswith(f"{NAME} ")


def test_a_recipe_is_renamed_restored_branched_and_deleted(routes: str) -> None:
    one = f"{routes}/live test old"
    first = answered(requests.put(one, json={"job": JOB}, timeout=60))
    answered(requests.put(one, json={"job": {**JOB, "seed": 3}}, timeout=60))
    answered(requests.post(f"{one}/restore", json={"version": first["id"]}, timeout=60))
    answered(requests.post(f"{one}/variants", json={"variant": "night"}, timeout=60))
    changed = answered(requests.patch(one, json={"name": "live test new", "variant": "main"}, timeout=60))
    assert (changed["name"], changed["variant"]) == ("live test new", "main")
    assert "no recipe" in str(answered(requests.delete(one, timeout=60), 404))
    refused = answered(requests.patch(f"{routes}/live test new", json={"name": "../x"}, timeout=60), 422)
    assert refused["detail"]["path"] == "$.new_name"
    for path in ("..%2F..%2Fmodels", ".git", "%2e%2e"):
        assert requests.delete(f"{routes}/{path}", timeout=60).status_code in (404, 405)
    gone = answered(requests.delete(f"{routes}/live test new", timeout=60))
    assert gone == {"name": "live test new", "versions": 3}
    assert "live test new" not in [row["name"] for row in answered(requests.get(routes, timeout=60))]


def test_a_picture_of_the_webui_becomes_a_recipe(routes: str, webui: WebUI) -> None:
    answered(requests.put(f"{routes}/{NAME}", json={"job": JOB}, timeout=60))
    body = {**PLAIN, "alwayson_scripts": {"CtrlGen": {"args": [{"units": [EDGES]}]}}}
    made = answered(requests.post(f"{webui.url}/sdapi/v1/txt2img", json=body, timeout=600))
    picture = base64.b64decode(made["images"][0])
    added = answered(requests.post(routes, params={"name": "live test picture"}, data=picture, timeout=60))
    assert added["notes"] == [], "the unit's picture is in the other recipe"
    read = answered(requests.get(f"{routes}/{added['name']}", timeout=60))
    assert (read["job"]["prompt"], read["job"]["steps"]) == (PLAIN["prompt"], 4)
    assert read["job"]["units"][0]["model"].startswith(f"{EDGES['model']} [")
    assert read["job"]["model"].startswith("ctrlgen-tiny [")
    again = {**body, "alwayson_scripts": {"CtrlGen": {"args": [{"units": read["job"]["units"]}]}}}
    repeated = answered(requests.post(f"{webui.url}/sdapi/v1/txt2img", json=again, timeout=600))
    assert webui_pixels(repeated["images"][0]) == webui_pixels(made["images"][0])


def webui_pixels(text: str) -> bytes:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB").tobytes()


def test_mistakes_are_answers(routes: str) -> None:
    assert "no recipe" in str(answered(requests.get(f"{routes}/live test nothing", timeout=60), 404))
    for path in ("..%2F..%2Fetc", "%2e%2e", ".git"):
        assert requests.get(f"{routes}/{path}", timeout=60).status_code == 404
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../evil", "x")
    refused = answered(requests.post(routes, data=evil.getvalue(), timeout=60), 422)
    assert "no file of a recipe" in refused["detail"]["message"]
    body = {"job": {**JOB, "units": [{**EDGES, "image": "/etc/passwd"}]}}
    assert answered(requests.put(f"{routes}/{NAME}", json=body, timeout=60), 422)["detail"]["path"]


@pytest.fixture(scope="module")
def page(webui: WebUI, routes: str) -> Iterator[Any]:
    with opened_page(webui.url) as opened:
        yield opened


def note(page: Any, text: str) -> str:
    page.wait_for_function(
        "([id, text]) => document.querySelector(id) && document.querySelector(id).innerText.includes(text)",
        arg=[f"{RECIPE}note", text],
    )
    return str(page.locator(f"{RECIPE}note").first.inner_text())


def chosen(page: Any, name: str, title: str) -> None:
    reveal(page, f"{RECIPE}{name} input")
    page.locator(f"{RECIPE}{name} input").first.click()
    page.locator(f"{RECIPE}{name} ul li", has_text=title).first.click()
    page.wait_for_timeout(1500)


def test_the_panel_is_saved_with_its_picture_and_comes_back(page: Any, tmp_path: Path, routes: str) -> None:
    fill_unit(page, tmp_path)
    fill(page, "#txt2img_prompt textarea", "a red circle, saved")
    fill(page, "#txt2img_seed input", "7")
    fill(page, f"{RECIPE}new textarea, {RECIPE}new input", "live test page")
    page.click(f"{RECIPE}save")
    assert "without a picture" in note(page, "Saved")
    generate(page)
    before = page.locator("#html_info_txt2img").first.inner_text()
    page.click(f"{RECIPE}save")
    note(page, "Saved 'live test page'")
    page.wait_for_timeout(2000)
    assert "without" not in page.locator(f"{RECIPE}note").first.inner_text()
    shot(page, "recipes-saved")
    read = answered(requests.get(f"{routes}/live test page", timeout=60))
    assert (read["job"]["prompt"], read["job"]["seed"]) == ("a red circle, saved", 7)
    assert read["result"].startswith("data:image/png")

    open_panel(page)
    page.locator(f"{unit('enabled')} input").uncheck()
    fill(page, "#txt2img_prompt textarea", "something else")
    fill(page, f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input", "")
    open_panel(page)
    page.locator(f"{unit('image')} button[aria-label=Clear]").first.click()
    page.wait_for_timeout(1000)
    assert page.locator(f"{unit('image')} img").count() == 0
    chosen(page, "name", "live test page")
    page.click(f"{RECIPE}load")
    note(page, "Loaded")
    open_panel(page)
    page.wait_for_selector(f"{unit('image')} img")
    page.wait_for_timeout(2000)
    shot(page, "recipes-loaded")
    assert page.locator("#txt2img_prompt textarea").input_value() == "a red circle, saved"
    assert page.locator(f"{unit('enabled')} input").is_checked()
    schedule = page.locator(f"{unit('weight_schedule')} textarea, {unit('weight_schedule')} input").first
    assert schedule.input_value() == "1@0, 0.6@0.4, 0@1"
    generate(page)
    after = page.locator("#html_info_txt2img").first.inner_text()
    assert after.split("Time taken")[0] == before.split("Time taken")[0], "the same settings and pictures"


def test_recipes_are_compared_shared_and_imported_in_the_page(page: Any, tmp_path: Path) -> None:
    fill(page, "#txt2img_seed input", "8")
    generate(page)
    press(page, f"{RECIPE}save")  # again, so that both versions have a picture
    page.wait_for_timeout(4000)
    page.click(f"{RECIPE}compare")
    page.wait_for_selector(f"{RECIPE}pairs img")
    assert "+" in page.locator(f"{RECIPE}text").first.inner_text()
    page.click(f"{RECIPE}export")
    note(page, "bytes")
    link = page.locator(f"{RECIPE}file a").first.get_attribute("href")
    path = tmp_path / "live test zip.zip"
    path.write_bytes(requests.get(link, timeout=60).content)
    assert zipfile.is_zipfile(path)
    upload = "#ctrlgen_txt2img_recipes input[data-testid='Import a zip or a picture-upload-button']"
    page.locator(upload).set_input_files(str(path))
    assert "live test zip" in note(page, "Imported")
    page.wait_for_selector(f"{RECIPE}gallery img")
    shot(page, "recipes-shared")


def test_a_recipe_is_renamed_and_deleted_in_the_page(page: Any, routes: str) -> None:
    answered(requests.put(f"{routes}/live test gone", json={"job": JOB}, timeout=60))
    press(page, f"{RECIPE}refresh")
    note(page, "recipes in")
    chosen(page, "name", "live test gone")
    fill(page, f"{RECIPE}new_name textarea, {RECIPE}new_name input", "live test kept")
    page.locator(f"{RECIPE}rename").focus()
    page.keyboard.press("Enter")
    note(page, "Renamed")
    answers = iter(["dismiss", "accept"])
    page.on("dialog", lambda dialog: getattr(dialog, next(answers))())
    page.click(f"{RECIPE}delete")
    note(page, "Nothing was deleted")
    page.click(f"{RECIPE}delete")
    note(page, "Deleted 'live test kept'")
    shot(page, "recipes-deleted")
    names = {row["name"] for row in answered(requests.get(routes, timeout=60))}
    assert not names & {"live test gone", "live test kept"}
