"""The report's page in a browser: keyboard, ratings, filters, blind votes, comparison, a run that goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.tuner.progress_file import ProgressFile
from lib_ctrlgen.tuner.ratings import RatingsFile, Vote
from lib_ctrlgen.tuner.votes import strengths
from tests.support.analytic_host import AnalyticHost
from tests.support.axe import faults
from tests.support.script_page import browser
from tests.support.tuner_reports import report_in, served, tuner_of

RECOMMENDED = "Weight of unit 0 = 1, Weight of unit 1 = 0.5"


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def folder(opened: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del opened  # without a browser nothing is made
    out = tmp_path_factory.mktemp("report")
    report_in(out)
    return out


@pytest.fixture
def page(opened: Any, folder: Path) -> Iterator[Any]:
    context = opened.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    found = context.new_page()
    found.set_default_timeout(90_000)
    errors: list[Any] = []

    def wrong(what: Any) -> None:
        errors.append(what)

    found.on("pageerror", wrong)
    found.on("dialog", wrong)  # a script in the prompt would open one
    found.goto((folder / "report.html").as_uri())
    yield found
    context.close()
    assert errors == []


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def dimmed(page: Any) -> list[bool]:
    found: list[bool] = page.evaluate("[...document.querySelectorAll('.cell')].map((c) => c.matches('.out'))")
    return found


def test_arrows_move_digits_give_stars_and_filters_show_them(page: Any) -> None:
    cells = page.locator(".cell")
    assert cells.count() == 6
    assert page.locator(".grid img").first.get_attribute("src").startswith("thumbnails/")
    cells.nth(0).focus()
    press(page, "4", "ArrowRight", "2", "ArrowDown", "f", "ArrowRight", "ArrowRight", "5")
    assert focused(page) == "Weight of unit 0 = 1.5, Weight of unit 1 = 0.5"
    rated = [text.strip() for text in page.locator(".rated").all_inner_texts()]
    assert rated == ["★★★★☆", "★★☆☆☆", "", "", "♥", "★★★★★"]
    page.select_option("#stars", "4")
    assert dimmed(page) == [False, True, True, True, True, False]
    assert page.locator("#count").inner_text() == "2 of 6 cells"
    press(page, "Escape")
    cells.nth(5).focus()
    press(page, "ArrowLeft")  # nothing that the filter shows is there
    assert focused(page).startswith("Weight of unit 0 = 1.5")
    press(page, "0")
    assert page.locator("#count").inner_text() == "1 of 6 cells"
    page.select_option("#stars", "")
    page.check("#favourites")
    assert dimmed(page) == [True, True, True, True, False, True]
    with page.expect_download() as download:
        page.click("#export")
    (favourite,) = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert (favourite["name"], favourite["settings"] != "") == (RECOMMENDED, True)
    page.uncheck("#favourites")
    page.select_option("#score", "over_control")
    page.fill("#bound", "0.35")
    assert dimmed(page) == [over > 0.35 for over in scores(page, "over_control")]
    assert any(dimmed(page))
    assert not all(dimmed(page))


def scores(page: Any, name: str) -> list[float]:
    found: list[float] = page.evaluate("(name) => cells.map((cell) => cell.scores[name])", name)
    return found


def test_ratings_of_a_file_stay_in_the_browser_and_in_a_downloaded_file(page: Any, folder: Path) -> None:
    assert "opened as a file" in page.locator("#saved").inner_text()
    page.locator(".cell").nth(2).focus()
    press(page, "3")
    page.reload()
    assert page.locator(".rated").nth(2).inner_text() == "★★★☆☆"
    with page.expect_download() as download:
        page.click("#download")
    kept = folder / "ratings-mine.json"
    kept.write_bytes(Path(download.value.path()).read_bytes())
    page.evaluate("localStorage.clear()")
    page.reload()
    assert page.locator(".rated").nth(2).inner_text() == ""
    tuned = report_in(folder, y={"path": "Weight of unit 1", "values": "0.25, 0.5, 0.75"})  # extended
    page.reload()
    assert page.locator(".rated").nth(2).inner_text() == "★★★☆☆"
    rows = json.loads(tuned.report.with_name("cells.json").read_text("utf-8"))["cells"]
    assert [row.get("rating", {}).get("stars") for row in rows] == [None, None, 3, *[None] * 6]
    kept.unlink()
    report_in(folder)


def test_blind_votes_hide_the_values_and_give_the_strengths_of_the_library(page: Any) -> None:
    page.click("#vote")
    ballot = page.locator("#ballot")
    assert "Weight of unit" not in ballot.evaluate("(part) => part.outerHTML")
    assert ballot.locator("img").count() == 2
    press(page, "2", "1", "1")  # three votes of two
    page.select_option("#many", "4")
    assert ballot.locator("img").count() == 4
    press(page, "3", "1", "4")  # three picks of four are a vote
    press(page, "1", "Enter")  # and so is one, saved early
    press(page, "s", "2", "Backspace")  # no vote: skipped, and a pick that was taken back
    assert page.locator("#votes").inner_text() == "5 votes so far."
    press(page, "Backspace")  # the last vote
    assert page.locator("#votes").inner_text() == "4 votes so far."
    page.click("#close")
    votes = page.evaluate("Object.values(ratings.votes)")
    assert sorted(len(vote["order"]) for vote in votes) == [0, 1, 1, 1, 3]
    wanted = strengths([Vote(shown=each["shown"], order=each["order"]) for each in votes])
    found = dict(
        page.evaluate("[...strengths].map(([key, each]) => [key, [each.value, each.error, each.votes]])")
    )
    assert found.keys() == wanted.keys()
    for key, each in wanted.items():
        assert found[key] == pytest.approx([each.value, each.error, each.votes], abs=1e-6)
    shown = page.locator(".voted").all_inner_texts()
    assert sum(text.startswith("votes ") for text in shown) == len(wanted)
    page.locator('#list button[data-sort="votes"]').click()
    first = page.locator("#list tbody tr").first.get_attribute("data-number")
    best = max(wanted, key=lambda key: wanted[key].value)
    assert page.evaluate("(at) => cells[at].key", int(first)) == best


def test_two_cells_are_compared_under_a_slider_and_enlarged(page: Any) -> None:
    assert focused(page) != RECOMMENDED
    page.locator(".cell").nth(0).click()
    sides = page.locator(".cell[data-side]")
    assert sides.evaluate_all("(all) => all.map((c) => c.dataset.side)") == ["B", "A"]
    page.locator("#split").fill("25")
    assert page.locator("#over").evaluate("(part) => part.style.clipPath") == "inset(0px 0px 0px 25%)"
    page.locator("#zoom").fill("4")
    assert page.locator("#left").evaluate("(part) => part.style.transform") == "scale(4)"
    page.click("#large")
    assert page.locator("#panel.large").count() == 1
    press(page, "Escape")
    assert page.locator("#panel.large").count() == 0
    assert page.locator("#sides tr").count() == 3
    page.select_option("#seed", "-1")
    assert page.locator(".cell").first.locator("img").count() == 2


def test_a_running_report_grows_and_saves_ratings_in_the_folder(opened: Any, tmp_path: Path) -> None:
    host = AnalyticHost()
    host.stops_after = 7  # pictures: after the three cells with 10 steps
    tuner = tuner_of(tmp_path, host, y={"path": "Steps", "values": "10, 20"})
    file = ProgressFile(tmp_path, server=1.0)
    file.write("running", total=6)
    page = opened.new_page()
    page.set_default_timeout(90_000)
    first: list[int] = []
    with served(tmp_path) as address:

        def tell(progress: Any) -> None:
            file.tell(progress)
            if not first:
                page.goto(address)
                first.append(page.locator(".cell").count())

        with pytest.raises(KeyboardInterrupt):
            tuner.run(tell)
        page.wait_for_function("document.querySelectorAll('.cell').length === 3")
        assert first == [0]
        assert page.locator("#progress").inner_text() == "3 of 6"
        page.locator(".cell").nth(1).focus()
        press(page, "5")
        page.wait_for_function("document.querySelector('#saved').textContent.includes('ratings.json')")
        file.end("interrupted", tuner.tuned)
        page.wait_for_selector("#reload:visible")
        page.evaluate("localStorage.clear()")
        page.click("#reload")
        page.wait_for_function("document.querySelectorAll('.rated')[1].textContent === '★★★★★'")
        page.close()
    assert RatingsFile(tmp_path).read().cells[tuner.tuned.done[1].rated].stars == 5


PANEL = """
const root = {offsetParent: {}};
const ctrlgen = {tabs: ["txt2img", "img2img"], paste: (tab, text) => { window.got = [tab, text]; }};
const gradioApp = () => ({querySelector: (id) => id === "#tab_img2img" ? root : null});
const onUiLoaded = (callback) => callback();
"""


def said(page: Any, text: str) -> str:
    page.wait_for_function("(text) => document.querySelector('#answer').textContent.includes(text)", arg=text)
    return str(page.locator("#answer").inner_text())


def test_a_cell_is_sent_to_the_panel_and_saved_as_a_recipe(opened: Any, folder: Path) -> None:
    context = opened.new_context()
    page, panel = context.new_page(), context.new_page()
    for each in (page, panel):
        each.set_default_timeout(20_000)
    with served(folder) as address:
        page.goto(address)
        page.locator(".cell").nth(2).focus()
        press(page, "p")
        said(page, "No page of the WebUI is open")
        source = (Path("javascript") / "ctrlgen_recipes.js").read_text("utf-8")
        content = f"<script>{PANEL}{source}</script>"
        panel.route("**/panel", lambda route: route.fulfill(body=content, content_type="text/html"))
        panel.goto(address.replace("/tune/job/files/report.html", "/panel"))
        page.click("#send")
        said(page, "Sent to the panel of img2img")
        panel.wait_for_function("window.got")
        recipe = page.evaluate("cells[2].recipe")
        assert panel.evaluate("window.got") == ["img2img", recipe]
        page.locator(".cell").nth(2).focus()
        press(page, "r")
        said(page, "Write the name")
        page.keyboard.type("a/b")
        press(page, "Enter")
        said(page, "Not saved: it contains /")
        page.fill("#recipe", "chair")
        page.click("#keep")
        key = page.evaluate("cells[2].key")
        assert f"cell {key}, picture 0" in said(page, "Saved as chair, version 1a2b3c4d")
    context.close()


def test_a_report_from_disk_copies_the_command(page: Any, folder: Path) -> None:
    assert page.locator("#send").is_hidden()
    page.locator(".cell").first.focus()
    page.fill("#recipe", "it's a chair")
    page.evaluate(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"
    )
    page.click("#keep")
    said(page, "the command that does it was copied")
    file = page.evaluate("cells[0].files[0]")
    command = page.evaluate("window.copied")
    assert command == f"ctrlgen recipes save 'it'\\''s a chair' --from-cell {folder}/{file}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_has_no_faults_that_axe_finds(opened: Any, folder: Path, theme: str) -> None:
    context = opened.new_context(color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    page.locator(".cell").first.wait_for()
    assert faults(page, "body") == []
    context.close()
