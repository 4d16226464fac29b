"""The tuner's fields and its report in the real WebUI: cost, a page that grows, ratings, a coarse grid."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.conftest import EDGES, PLAIN, WebUI, close
from tests.support.browser_page import fill, generate, ready, shot
from tests.support.live_jobs import ROUTE, picture, posted, waited
from tests.support.script_page import browser

pytestmark = pytest.mark.live
BOX = "#script_txt2img_ctrlgen_xy_tuner"
PATIENCE = 300_000  # ms


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def context(opened: Any, webui: WebUI) -> Iterator[Any]:
    del webui  # skips without one
    found = opened.new_context(viewport={"width": 1400, "height": 1200})
    yield found
    found.close()


def choose_axis(page: Any, axis: str, label: str, values: str) -> None:
    place = page.locator(f"{BOX}_{axis}_path input").first
    place.fill(label)
    place.press("Enter")
    fill(page, f"{BOX}_{axis}_values textarea", values)


def require_cost(page: Any) -> None:
    """Fill two axes: the cost stands below, and nothing was sent while typing."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    choose_axis(page, "x", "CFG scale", "1-9 [4]")
    choose_axis(page, "y", "Steps", "4, 30, 60")
    typed = [url for url in sent if "internal" not in url]  # the WebUI's own polling
    assert typed == []
    cost = page.locator(f"{BOX}_cost .ctrlgen-cost").first.inner_text()
    assert cost.startswith("12 cells, 12 pictures; about ")


def test_the_page_tells_the_cost_and_opens_the_report_while_it_runs(context: Any, webui: WebUI) -> None:
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(webui.url)
    ready(page)
    fill(page, "#txt2img_prompt textarea", "a red circle")
    generate(page)
    page.locator("#tab_txt2img #script_list input").first.click()
    page.locator("#tab_txt2img #script_list ul li", has_text="CtrlGen X/Y tuner").first.click()
    page.wait_for_selector(f"{BOX}_cost .ctrlgen-cost:visible")
    page.wait_for_function("() => typeof ctrlgenTuner !== 'undefined'")  # sent when first seen
    require_cost(page)
    name = f"live-{uuid.uuid4().hex}"
    fill(page, f"{BOX}_name textarea, {BOX}_name input", name)
    shot(page, "tuner_cost")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_interrupt", state="visible")
    page.wait_for_timeout(2000)
    with context.expect_page() as popup:
        page.click(f"{BOX}_report")
    report = popup.value
    report.set_default_timeout(PATIENCE)
    assert report.url == f"{webui.url}{ROUTE}/{name}/files/report.html"
    report.wait_for_selector(".cell")
    assert report.locator(".cell").count() < 12
    report.locator(".cell").first.focus()
    report.keyboard.press("4")
    report.wait_for_function("document.querySelector('#saved').textContent.includes('ratings.json')")
    shot(report, "tuner_report_running")
    report.wait_for_selector("#reload:visible")
    report.click("#reload")
    report.wait_for_function("document.querySelectorAll('.cell').length === 12")
    report.wait_for_function("document.querySelector('.rated').textContent === '★★★★☆'")
    shot(report, "tuner_report")
    ratings = webui.get(f"{ROUTE}/{name}/ratings").json()
    assert [each["stars"] for each in ratings["cells"].values()] == [4]


def test_a_cell_goes_to_the_panel_and_becomes_a_recipe(context: Any, webui: WebUI) -> None:
    name, recipe = posted(webui, EDGES).json()["id"], f"live test {uuid.uuid4().hex}"
    said = waited(webui, name, "done", "failed")
    key = said["cells"][1]["files"][0].removeprefix("cells/")[:16]
    page, report = context.new_page(), context.new_page()
    for each, url in ((page, webui.url), (report, f"{webui.url}{ROUTE}/{name}/files/report.html")):
        each.set_default_timeout(PATIENCE)
        each.goto(url, wait_until="domcontentloaded")
    ready(page)
    report.locator(".cell").nth(1).focus()
    report.keyboard.press("p")
    report.wait_for_function(
        "document.querySelector('#answer').textContent.startsWith('Sent to the panel of txt2img')"
    )
    page.wait_for_function("document.querySelector('#ctrlgen_txt2img_unit0_enabled input').checked")
    assert page.locator("#txt2img_prompt textarea").input_value() == PLAIN["prompt"]
    report.fill("#recipe", recipe)
    report.locator("#recipe").press("Enter")
    report.wait_for_function("document.querySelector('#answer').textContent.startsWith('Saved as')")
    shot(report, "tuner_cell_saved")
    route = f"/ctrlgen/v1/recipes/{recipe}"
    read = webui.get(route).json()
    assert (read["missing"], read["job"]["units"][0]["image"][:10]) == ([], "data:image")
    assert read["result"].startswith("data:image/png")
    history = webui.get(f"{route}/history").json()
    assert history[0]["message"].startswith(f"The cell {key}")
    assert webui.post(f"{ROUTE}/{name}/recipe", {"recipe": recipe, "cell": "../x"}).status_code == 422
    assert webui.post(f"{ROUTE}/{name}/recipe", {"recipe": recipe}).ok, "the recommended cell"


def test_ratings_are_merged_and_kept_when_a_job_is_extended(webui: WebUI) -> None:
    name = posted(webui, EDGES).json()["id"]
    said = waited(webui, name, "done", "failed")
    first, second = (cell["files"][0].removeprefix("cells/")[:16] for cell in said["cells"])
    route = f"{ROUTE}/{name}/ratings"
    vote = {"shown": [first, second], "order": [second], "at": 1}
    answer = webui.post(route, {"cells": {first: {"stars": 3, "at": 9}}, "votes": {"v1": vote}})
    assert answer.status_code == 200, answer.text
    webui.post(route, {"cells": {first: {"stars": 5, "at": 8}}})
    assert posted(webui, EDGES, name=name, x={"path": "Weight of unit 0", "values": "0, 0.5, 1"}).ok
    assert waited(webui, name, "done", "failed")["total"] == 3
    kept = webui.get(route).json()
    assert kept["cells"] == {first: {"stars": 3, "at": 9}}
    assert kept["strengths"][second]["share"] > kept["strengths"][first]["share"]
    assert webui.post(route, {"cells": {"..": {}}}).json()["detail"]["path"] == "$.cells"
    assert webui.get(f"{ROUTE}/nothing/ratings").status_code == 404


def test_a_coarse_grid_makes_the_better_half_as_alone(webui: WebUI, tmp_path: Any) -> None:
    x = {"path": "Weight of unit 0", "values": "0, 0.4, 0.8, 1.2"}
    name = posted(webui, EDGES, fields={"steps": 8}, x=x, coarse=0.5).json()["id"]
    said = waited(webui, name, "done", "failed")
    assert (said["state"], said["done"]) == ("done", 4), said
    full = [cell for cell in said["cells"] if not cell.get("stopped")]
    assert len(full) == 2
    for cell in said["cells"]:
        pixels, text = picture(webui, name, cell["files"][0], tmp_path)
        steps = 4 if cell.get("stopped") else 8
        alone = webui.generate(EDGES | {"weight": float(cell["values"][0])}, steps=steps, seed=PLAIN["seed"])
        assert close(pixels, alone.images[0])
        assert f"Steps: {steps}," in text
