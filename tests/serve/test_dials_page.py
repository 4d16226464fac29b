"""The page of dials in a browser: by mouse and by keyboard, errors at their cards, files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.headless.job_text import parse_yaml
from lib_ctrlgen.headless.jobs import parse_job, read_job
from lib_ctrlgen.serve.dials.opened import example
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.stories import checked_story
from tests.support.browser_page import shot
from tests.support.script_page import browser
from tests.support.serve_jobs import ANNA, BERT, FakeModels, job_of, png, story_of, wait_for
from tests.support.serve_requests import everything
from tests.support.serve_site import Site, site_of

pytest.importorskip("fastapi", minversion="0.115", reason="test of the page: install the extra `serve`")
pytest.importorskip("gradio", minversion="6", reason="test of the page: install the extra `serve`")

CURVE = '[data-path="$.units[0].weight"].card svg'
TEXT = 'input[data-path="$.units[0].weight"]'
WINDOWED = "0>1 in 0.25..1"
EVIL = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def site(chromium: Any, make: Callable[..., Any], tmp_path: Path) -> Iterator[Site]:
    with site_of(chromium, make, tmp_path) as opened:
        yield opened


def opened(site: Site, query: str = "", user: str = "anna", **options: Any) -> Any:
    page = site.page(**options)
    page.goto(site.url)
    page.fill("#token", site.tokens[user])
    page.click("button")
    page.goto(f"{site.url}/dials/{query}", wait_until="domcontentloaded")
    page.wait_for_selector("body[data-ready]")
    return page


def settled(page: Any, count: int) -> None:
    """Wait until `count` previews were shown, the last one for the dials as they are."""
    page.wait_for_function(
        "(count) => document.querySelectorAll('.strip li').length === count "
        "&& document.querySelector('#status').textContent.startsWith('Preview in')",
        arg=count,
    )


def exported(page: Any, path: Path) -> Any:
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(path)
    return read_job(path).request


def value(page: Any, path: str) -> str:
    return str(page.locator(f'[data-path="{path}"]:not(.card)').first.input_value())


def test_dials_by_mouse(site: Site, tmp_path: Path) -> None:
    page = opened(site)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    page.click("#example")
    settled(page, 1)
    assert exported(page, tmp_path / "same.yaml") == parse_job(example())
    first = page.get_attribute("#preview", "src")
    assert page.get_attribute(".map img >> nth=0", "src").startswith("blob:")
    before, count = value(page, "$.units[0].weight"), len(sent)
    drag(page, 60, 30)
    assert len(sent) == count, "nothing is sent during a drag"
    page.mouse.up()
    dragged = value(page, "$.units[0].weight")
    assert dragged != before
    settled(page, 2)
    assert page.get_attribute("#preview", "src") != first
    compare(page, first)
    page.check('[data-path="$.units[1].enabled"]')  # mute
    settled(page, 3)
    page.click(".unit >> nth=2 >> .solo")
    settled(page, 4)
    assert "Unit 3 alone" in page.inner_text(".result .notes")
    shot(page, "serve-dials")
    request = exported(page, tmp_path / "request.yaml")
    assert str(request.units[0].weight) == dragged
    assert [unit.enabled for unit in request.units] == [True, False, True], "solo is not in the request"
    page.click("#empty")
    page.set_input_files("#file", str(tmp_path / "request.yaml"))
    page.wait_for_selector(".row >> nth=2")
    assert value(page, "$.units[0].weight") == dragged
    assert page.is_checked('[data-path="$.units[1].enabled"]')
    page.click("#make")
    page.wait_for_selector("#message a")
    (job,) = site.service.store.listed("anna")
    assert parse_job(site.service.store.payload(job)) == request
    wait_for(lambda: not site.service.store.previews())
    assert all(each.split()[1].startswith((site.url, "blob:", "data:")) for each in sent)


def drag(page: Any, right: int, down: int) -> None:
    """Take the second point of the first unit's curve and move it; the button stays down."""
    box = page.locator(f"{CURVE} .point >> nth=1").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + right, box["y"] + down, steps=6)


def compare(page: Any, before: Any) -> None:
    """Hold the button that shows the picture before."""
    page.locator("#compare").dispatch_event("pointerdown")
    assert page.get_attribute("#preview", "src") == before
    page.locator("#compare").dispatch_event("pointerup")
    assert page.get_attribute("#preview", "src") != before


def test_dials_by_keyboard(site: Site, tmp_path: Path) -> None:
    page = opened(site)
    page.focus("#example")
    page.keyboard.press("Enter")
    settled(page, 1)
    before = value(page, "$.units[0].weight")
    reach(page, TEXT)
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(WINDOWED)
    assert page.locator(f"{CURVE} .point").count() == 2
    settled(page, 2)
    reach(page, f"{CURVE} .point")
    page.keyboard.press("ArrowUp")
    moved = "0.01@0, 1@1 in 0.25..1"
    assert value(page, "$.units[0].weight") == moved
    settled(page, 3)
    reach(page, "#compare")
    second, third = (page.get_attribute(f".strip img >> nth={number}", "src") for number in (1, 2))
    page.keyboard.down("b")
    assert page.get_attribute("#preview", "src") == second
    page.keyboard.up("b")
    assert page.get_attribute("#preview", "src") == third
    for _ in range(2):
        page.keyboard.press("Control+z")
    assert value(page, "$.units[0].weight") == before
    settled(page, 3)  # the preview of the same dials is not made again
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+Shift+z")
    assert value(page, "$.units[0].weight") == moved
    reach(page, ".strip button")
    page.keyboard.press("Enter")
    assert value(page, "$.units[0].weight") == before
    reach(page, "#make")
    page.keyboard.press("Enter")
    page.wait_for_selector("#message a")
    assert [job.kind for job in site.service.store.listed("anna")] == ["run"]


def reach(page: Any, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(150):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with Tab")


def test_what_is_wrong_is_said_at_its_card_and_texts_are_texts(site: Site, tmp_path: Path) -> None:
    page = opened(site, color_scheme="dark")
    content = {**everything(), "prompt": EVIL, "tune": {"x": {"path": "steps", "values": EVIL}}}
    page.click("#paste")
    page.fill("#pasted", "prompt: [")
    page.click("dialog .primary")
    page.locator("#message", has_text="not YAML").wait_for()
    page.click("#paste")
    page.fill("#pasted", json.dumps(content))
    page.click("dialog .primary")
    page.wait_for_selector(".row.concept >> nth=1")
    settled(page, 1)
    assert "tune" in page.locator(".card.request .kept pre").text_content()
    assert page.evaluate("window.hacked") is None
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "all.yaml")
    assert parse_yaml((tmp_path / "all.yaml").read_text("utf-8"), "it") == content
    shot(page, "serve-dials-wrong")
    page.click("#empty")
    page.click("#add-unit")
    page.wait_for_selector('select[data-path="$.units[0].model"][aria-invalid]')
    assert "Control model: is required" in page.inner_text(".row .control .error")
    page.select_option('[data-path="$.units[0].kind"]', "edges")
    (tmp_path / "a.png").write_bytes(png(side=64))
    page.set_input_files('[data-path="$.units[0].image"]:not(.card)', str(tmp_path / "a.png"))
    page.fill('[data-path="$.width"]', "64")
    page.fill('[data-path="$.height"]', "64")
    settled(page, 2)
    assert page.locator(".card.wrong").count() == 0
    page.fill('input[data-path="$.units[0].weight"]', "1@2")
    page.wait_for_selector('input[data-path="$.units[0].weight"][aria-invalid]')
    assert "progress must be in 0..1" in page.inner_text(".row .strength > .error")


def test_a_job_or_a_recipe_is_opened_and_only_an_own_job(site: Site, tmp_path: Path) -> None:
    own = site.service.submit(ANNA, job_of("mine", seed=77))
    other = site.service.submit(BERT, job_of("yours"))
    wait_for(lambda: site.service.store.require(own.id).state == "done")
    page = opened(site, f"?job={own.id}")
    settled(page, 1)
    assert (value(page, "$.prompt"), value(page, "$.seed")) == ("mine", "77")
    page.goto(f"{site.url}/dials/?job={other.id}")
    page.wait_for_selector("body[data-ready]")
    assert "you have no job" in page.inner_text("#message")
    recipe = tmp_path / "recipe"
    (recipe / "pictures").mkdir(parents=True)
    (recipe / "pictures" / "0a.png").write_bytes(png(side=64))
    (recipe / "result.json").write_text("{}")
    (recipe / "recipe.yaml").write_text(
        "prompt: kept\nunits: [{model: ctrlgen-tiny-edges, image: pictures/0a.png}]"
    )
    page.set_input_files("#folder", str(recipe))
    page.wait_for_selector(".row .drop img[src^=data]")
    assert value(page, "$.prompt") == "kept"
    page.goto(f"{site.url}/page/")
    page.click("text=Dials")
    page.wait_for_selector("body[data-ready]")


def test_an_asset_of_a_story_and_its_recipe_are_opened_from_the_page(site: Site, tmp_path: Path) -> None:
    poses = [{"name": "Run"}, {"name": "Sit"}]
    checked = checked_story(story_of("Tale", poses=poses), Limits(), FakeModels())
    story = site.service.submit(ANNA, checked)
    wait_for(lambda: site.service.store.require(story.id).state == "done")
    page = site.logged_in("anna")
    page.click("#job input")
    page.click("ul[role=listbox] >> text=Tale")
    page.click("#result [aria-label='mia--hill--sit in dials']")
    page.wait_for_selector("body[data-ready]")
    settled(page, 1)
    assert value(page, "$.prompt") == "mia--hill--sit"
    assert page.locator(".row .drop img[src^=data]").count() == 1
    page.fill(TEXT, "0.5")
    settled(page, 2)
    shot(page, "dials-asset")
    assert exported(page, tmp_path / "asset.yaml").units[0].weight.constant == 0.5

    page.goto(f"{site.url}/page/")
    page.click("#job input")
    page.click("ul[role=listbox] >> text=Tale")
    page.fill("#recipe_name input, #recipe_name textarea", "A & B")
    page.fill("#recipe_picture input, #recipe_picture textarea", "1")
    page.click("#recipe_save")
    page.wait_for_selector("#said >> text=Saved as a recipe: A & B")
    page.click("#recipes button >> nth=0")
    page.click("#recipe_view >> text=Open in dials")
    page.wait_for_selector("body[data-ready]")
    settled(page, 1)
    assert value(page, "$.prompt") == "mia--sea--sit"

    other = opened(site, "?recipe=A%20%26%20B", "bert")
    settled(other, 1)
    assert value(other, "$.prompt") == "mia--sea--sit"
    other.goto(f"{site.url}/dials/?job={story.id}&picture=0")
    other.wait_for_selector("body[data-ready]")
    assert "you have no job" in other.inner_text("#message")
