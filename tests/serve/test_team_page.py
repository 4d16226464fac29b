"""Stories and recipes on the page in a browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.browser_page import shot
from tests.support.script_page import browser
from tests.support.serve_jobs import ANNA, FakeModels, png, story_of, wait_for
from tests.support.serve_site import Site, site_of

pytest.importorskip("fastapi", minversion="0.115", reason="test of the page: install the extra `serve`")
pytest.importorskip("gradio", minversion="6", reason="test of the page: install the extra `serve`")
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.stories import checked_story

EVIL = '<img src=x onerror="window.hacked=1"> {{x}}'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def site(chromium: Any, make: Callable[..., Any], tmp_path: Path) -> Iterator[Site]:
    with site_of(chromium, make, tmp_path) as opened:
        yield opened


def choose(page: Any, name: str, text: str) -> None:
    page.click(f"#{name} input")
    page.click(f"ul[role=listbox] >> text={text}")


def test_a_story_is_a_sheet_whose_assets_become_recipes_of_the_team(site: Site) -> None:
    poses = [{"name": "Run"}, {"name": "Sit"}]
    checked = checked_story(story_of(EVIL, poses=poses), Limits(), FakeModels())
    site.service.submit(ANNA, checked)
    page = site.logged_in("anna")
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, "job", "onerror")
    page.wait_for_function("document.querySelectorAll('#result .assets img').length === 4")
    heads = page.eval_on_selector_all("#result .assets th", "all => all.map(each => each.textContent)")
    assert heads == ["Run", "Sit", "Sea", "Hill"]
    page.wait_for_selector("#result .assets a >> text=YAML")
    assert page.get_attribute("#result img[alt='mia--hill--sit']", "src").endswith("/assets/mia--hill--sit")
    page.fill("#recipe_name input, #recipe_name textarea", "Tale")
    page.click("#recipe_save")
    page.wait_for_selector("#said >> text=Saved as recipes: Tale mia--sea--run")
    page.click("#recipes button >> nth=0")
    page.wait_for_selector("#recipe_view >> text=Tale mia--hill--sit")
    shot(page, "serve-story")
    assert page.evaluate("window.hacked") is None
    page.click("#recipe_again")
    page.wait_for_selector("#recipe_said >> text=Queued: mia--hill--sit")
    wait_for(lambda: len(site.service.store.listed("anna")) == 2)

    other = site.logged_in("bert")
    other.on("dialog", lambda dialog: dialog.accept())
    other.click("#recipes button >> nth=0")
    choose(other, "recipe", "Tale mia--sea--run")
    other.wait_for_selector("#recipe_view td >> text=anna")
    other.click("#recipe_delete")
    other.wait_for_selector("#recipe_said [role=alert] >> text=anna or an admin deletes")
    page.click("#recipe_delete")
    page.wait_for_selector("#recipe_said >> text=Deleted: Tale mia--hill--sit")
    assert not (site.service.folders.root / "recipes" / "Tale mia--hill--sit").exists()


def test_a_story_is_sent_with_its_pictures_from_the_page(site: Site, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a b.png", "story.yaml")]
    files[0].write_bytes(png(side=32))
    edges = {"kind": "edges", "picture": "pictures/a b.png"}
    files[1].write_text(yaml.safe_dump(story_of("Sent", poses=[{"name": "Run", "controls": [edges]}])))
    page = site.logged_in("anna")
    page.click("#story button >> nth=0")
    for count, told in ((1, "choose one story file"), (2, "Queued: Sent")):
        page.set_input_files("#story_files input[type=file]", [str(each) for each in files[:count]])
        page.wait_for_function(
            "count => document.querySelectorAll('#story_files tr.file').length === count", arg=count
        )
        page.click("#queue_story")
        page.wait_for_selector(f"#message >> text={told}")
        if count == 1:
            page.click("#story_files button[aria-label='Clear']")
    page.wait_for_function("document.querySelectorAll('#result .assets img').length === 2")
    (job,) = site.service.store.listed("anna")
    assert job.settings["poses"][0]["controls"][0]["picture"].startswith("sha256:")
